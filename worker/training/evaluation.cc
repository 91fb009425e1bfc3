#include "worker/training/evaluation.h"

#include <algorithm>
#include <cmath>

#include "common/status_macros.h"
#include "kernels/training_ops.h"

namespace tritter {

absl::StatusOr<EvaluationResult> EvaluateWindows(
    ServingForward* forward, int64_t vocabulary,
    const std::function<bool(std::vector<int64_t>* window)>& next, Collective* collective) {
  EvaluationResult result;
  std::vector<int64_t> window;
  absl::Status status;
  while (status.ok() && next(&window)) {
    // Inputs are the tokens before the first padding.
    const size_t used = std::find(window.begin(), window.end(), -1) - window.begin();
    if (used < 2) continue;
    const absl::Span<const int64_t> tokens(window.data(), used);
    absl::StatusOr<std::vector<float>> logits = forward->Logits(tokens.first(used - 1));
    status = logits.status();
    if (!status.ok()) break;
    const std::vector<float> ones(used - 1, 1.0f);
    result.nats += SoftmaxCrossEntropyRows(logits->data(), tokens.data() + 1, ones.data(), 0.0f,
                                           0.0, static_cast<int64_t>(used) - 1, vocabulary);
    result.tokens += static_cast<int64_t>(used) - 1;
  }
  RETURN_IF_ERROR(status);
  double sums[2] = {result.nats, static_cast<double>(result.tokens)};
  RETURN_IF_ERROR(collective->AllReduceSum(sums, 2));
  return EvaluationResult{sums[0], static_cast<int64_t>(std::llround(sums[1]))};
}

}  // namespace tritter
