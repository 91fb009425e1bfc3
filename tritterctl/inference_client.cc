#include "tritterctl/inference_client.h"

#include "tritter/v1/inference.grpc.pb.h"
#include "tritterctl/rpc_client.h"

namespace tritter {

struct InferenceClient::Impl {
  Impl(const std::string& address, const ClientSecurity& security)
      : who(absl::StrCat("inference worker at ", address)),
        refused(CheckServerAddress("--server", address, security)),
        stub(refused.ok() ? v1::InferenceService::NewStub(MakeChannel(address, security))
                          : nullptr) {}
  const std::string who;
  const absl::Status refused;
  const std::unique_ptr<v1::InferenceService::Stub> stub;
};

InferenceClient::InferenceClient(const std::string& address, const ClientSecurity& security)
    : impl_(std::make_unique<Impl>(address, security)) {}
InferenceClient::~InferenceClient() = default;

absl::Status InferenceClient::Generate(
    const v1::GenerateRequest& request, absl::Duration timeout,
    const std::function<void(const v1::GenerateResponse&)>& on_part,
    const std::function<bool()>& tick) {
  if (!impl_->refused.ok()) return impl_->refused;
  grpc::ClientContext context;
  if (timeout < absl::InfiniteDuration())
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
  return ReadStream<v1::GenerateResponse>(
      &context, impl_->who,
      [&](grpc::ClientContext* c, grpc::CompletionQueue* q, void* tag) {
        return impl_->stub->AsyncGenerate(c, request, q, tag);
      },
      on_part, tick);
}

absl::StatusOr<v1::ModelInfo> InferenceClient::GetModel(const std::string& model) {
  if (!impl_->refused.ok()) return impl_->refused;
  v1::GetModelRequest request;
  request.set_model(model);
  return CallUnary<v1::ModelInfo>(impl_->who,
                                  [&](grpc::ClientContext* context, v1::ModelInfo* response) {
                                    return impl_->stub->GetModel(context, request, response);
                                  });
}

absl::StatusOr<v1::ScoreResponse> InferenceClient::Score(const v1::ScoreRequest& request) {
  if (!impl_->refused.ok()) return impl_->refused;
  return CallUnary<v1::ScoreResponse>(
      impl_->who, [&](grpc::ClientContext* context, v1::ScoreResponse* response) {
        return impl_->stub->Score(context, request, response);
      });
}

}  // namespace tritter
