// tritter.v1.InferenceService: messages to and from the engine's types. No decision is made here.
#pragma once

#include "access/rpc_guard_service.h"
#include "common/clock.h"
#include "inference/calls/call_limit.h"
#include "inference/calls/client_waits.h"
#include "inference/model_registry.h"
#include "tritter/v1/inference.grpc.pb.h"

namespace tritter {

// Thread-safe. Registry, limit and waits must outlive it. Errors carry tritter.v1.ErrorDetail in
// grpc-status-details-bin.
class InferenceRpcService final : public v1::InferenceService::Service {
 public:
  // limit: of Generate, Score and Embed calls; one more is refused with RESOURCE_EXHAUSTED.
  // waits: of those whose answer is not read.
  InferenceRpcService(const ModelRegistry* registry, CallLimit* limit, ClientWaits* waits,
                      Clock* clock, RpcGuard guard = {})
      : registry_(registry), limit_(limit), waits_(waits), clock_(clock), guard_(guard) {}

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override;
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override;
  grpc::Status Embed(grpc::ServerContext* context, const v1::EmbedRequest* request,
                     v1::EmbedResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::ModelInfo* response) override;

 private:
  const ModelRegistry* const registry_;
  CallLimit* const limit_;
  ClientWaits* const waits_;
  Clock* const clock_;
  const RpcGuard guard_;
};

}  // namespace tritter
