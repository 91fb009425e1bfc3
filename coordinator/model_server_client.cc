#include "coordinator/model_server_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "access/rpc_channel_client.h"
#include "inference/grpc_predict_v2.grpc.pb.h"

namespace tritter {
namespace {
constexpr std::chrono::minutes kLongestLoad(10);

// People read it as the reason of a job: what gRPC says of a connection that cannot be made names
// every attempt, its last words say why.
std::string InOneSentence(const std::string& said) {
  if (!absl::StartsWith(said, "failed to connect to all addresses")) return said;
  const size_t last = said.rfind(": ");
  return absl::StrCat("cannot be reached",
                      last == std::string::npos ? "" : ": " + said.substr(last + 2));
}
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
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      InOneSentence(status.error_message()));
}

}  // namespace tritter
