// tritter.v1.InferenceService: messages to and from the engine's types. No decision is made here.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "common/clock.h"
#include "inference/engine.h"
#include "tritter/v1/inference.grpc.pb.h"

namespace tritter {

struct ServedModel {
  std::string name;  // what requests call it
  std::string path;  // shown by GetModel
};

// Thread-safe. The engine must outlive it. Errors carry tritter.v1.ErrorDetail in
// grpc-status-details-bin.
class InferenceRpcService final : public v1::InferenceService::Service {
 public:
  // max_calls: Generate, Score and Embed calls at a time; one more is refused with
  // RESOURCE_EXHAUSTED.
  InferenceRpcService(Engine* engine, ServedModel served, int max_calls, Clock* clock)
      : engine_(engine), served_(std::move(served)), max_calls_(max_calls), clock_(clock) {}

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
  absl::Status CheckModel(const std::string& name) const;
  absl::Duration TimeLeft(const grpc::ServerContext& context) const;

  Engine* const engine_;
  const ServedModel served_;
  const int max_calls_;
  Clock* const clock_;
  std::atomic<int> calls_{0};
};

}  // namespace tritter
