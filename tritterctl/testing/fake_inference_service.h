// An InferenceService in this process that answers a prompt with its own words, one message a word.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>

#include "tritter/v1/inference.grpc.pb.h"

namespace tritter {

// The model "missing" is NOT_FOUND; max_tokens above 1000 is OUT_OF_RANGE; a prompt with "hang" in
// it is never answered, and counted. The model "chatty" takes conversations, as ROLE=CONTENT.
class FakeInference final : public v1::InferenceService::Service {
 public:
  FakeInference();
  ~FakeInference() override;
  const std::string& address() const { return address_; }
  int hanging() const { return hanging_; }

 private:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::ModelInfo* response) override;
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override;

  std::atomic<int> hanging_{0};
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace tritter
