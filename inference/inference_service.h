// tritter.v1.InferenceService: messages to and from the engine's types. No decision is made here.
#pragma once

#include <atomic>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "inference/model_registry.h"
#include "tritter/v1/inference.grpc.pb.h"

namespace tritter {

// Thread-safe. The registry must outlive it. Errors carry tritter.v1.ErrorDetail in
// grpc-status-details-bin.
class InferenceRpcService final : public v1::InferenceService::Service {
 public:
  // max_calls: Generate, Score and Embed calls at a time; one more is refused with
  // RESOURCE_EXHAUSTED.
  InferenceRpcService(const ModelRegistry* registry, int max_calls, Clock* clock)
      : registry_(registry), max_calls_(max_calls), clock_(clock) {}

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

  int calls() const { return calls_.load(std::memory_order_relaxed); }  // at work now

 private:
  class CallSlot;
  absl::Duration TimeLeft(const grpc::ServerContext& context) const;

  const ModelRegistry* const registry_;
  const int max_calls_;
  Clock* const clock_;
  std::atomic<int> calls_{0};
};

}  // namespace tritter
