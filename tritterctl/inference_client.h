// InferenceApi over gRPC. gRPC stays in the .cc.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "access/client_security.h"
#include "tritterctl/inference_api.h"

namespace tritter {

class InferenceClient final : public InferenceApi {
 public:
  // `address`: host:port.
  explicit InferenceClient(const std::string& address, const ClientSecurity& security = {});
  ~InferenceClient() override;

  absl::Status Generate(const v1::GenerateRequest& request, absl::Duration timeout,
                        const std::function<void(const v1::GenerateResponse&)>& on_part,
                        const std::function<bool()>& tick) override;
  absl::StatusOr<v1::ModelInfo> GetModel(const std::string& model) override;
  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tritter
