#include "coordinator/model_server_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "access/rpc_channel_client.h"
#include "inference/grpc_predict_v2.grpc.pb.h"

namespace tritter {
namespace {
constexpr std::chrono::minutes kLongestLoad(10);
}  // namespace

absl::Status LoadModelOnServer(const ClientSecurity& security, const std::string& server,
                               const std::string& model) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // no pause of an earlier attempt
  const auto stub =
      inference::GRPCInferenceService::NewStub(MakeRpcChannel(server, security, arguments));
  inference::RepositoryModelLoadRequest request;
  request.set_model_name(model);
  inference::RepositoryModelLoadResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kLongestLoad);
  const grpc::Status status = stub->RepositoryModelLoad(&context, request, &response);
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace tritter
