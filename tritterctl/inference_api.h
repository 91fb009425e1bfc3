// An inference worker as commands see it, without gRPC. The real form is InferenceClient
// (inference_client.h). Not thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tritter/v1/inference.pb.h"

namespace tritter {

class InferenceApi {
 public:
  virtual ~InferenceApi() = default;

  // Errors: Unavailable (nobody there), DeadlineExceeded (after `timeout`), Cancelled (`tick` said
  // false; called at least every 100 ms), and what the service says.
  virtual absl::Status Generate(const v1::GenerateRequest& request, absl::Duration timeout,
                                const std::function<void(const v1::GenerateResponse&)>& on_part,
                                const std::function<bool()>& tick) = 0;
  virtual absl::StatusOr<v1::ModelInfo> GetModel(const std::string& model) = 0;
  virtual absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) = 0;
};

using InferenceApiFactory =
    std::function<std::unique_ptr<InferenceApi>(const std::string& address)>;

}  // namespace tritter
