// The Open Inference Protocol's tensors and parameters to the engine's requests and back. Pure
// functions.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/grpc_predict_v2.pb.h"
#include "inference/model_registry.h"
#include "inference/request.h"

namespace tritter {

inline constexpr int64_t kMaxPredictTexts = 64;  // of one request

struct PredictRequest {
  std::vector<std::string> texts;
  GenerateParams params;  // for every text; without prompt
  std::optional<int64_t> max_tokens;
  std::set<std::string> outputs;  // names asked for
  bool raw = false;               // values in raw_input_contents, and so in the response
};

// Errors: InvalidArgument naming tensor or parameter, what it is and what is allowed.
absl::StatusOr<PredictRequest> ReadInferRequest(const inference::ModelInferRequest& request);

struct PredictedText {
  std::string text;
  FinishReason finish = FinishReason::kNone;  // kNone: more will come
  RequestUsage usage;
};

// Model, version and id; then the outputs asked for.
inference::ModelInferResponse MakeInferResponse(const inference::ModelInferRequest& request,
                                                const ServedModel& model);
void AddOutputs(const PredictRequest& request, const std::vector<PredictedText>& texts,
                inference::ModelInferResponse* response);

inference::ModelMetadataResponse DescribeTensors(const ServedModel& model);

}  // namespace tritter
