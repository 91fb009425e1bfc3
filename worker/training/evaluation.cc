#include "worker/training/evaluation.h"

#include <algorithm>
#include <cmath>

#include "common/status_macros.h"
#include "kernels/training_ops.h"
#include "worker/training/attention_rule.h"

namespace tritter {

absl::StatusOr<EvaluationResult> EvaluateWindows(
    ServingForward* forward, const ModelConfig& config,
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
    const int64_t count = static_cast<int64_t>(used) - 1;
    std::vector<int64_t> targets(tokens.begin() + 1, tokens.end());
    const int64_t dropped =
        DropTargets(config, tokens.first(used - 1), count, absl::MakeSpan(targets));
    const std::vector<float> ones(used - 1, 1.0f);
    result.nats += SoftmaxCrossEntropyRows(logits->data(), targets.data(), ones.data(), 0.0f, 0.0,
                                           count, config.vocab);
    result.tokens += count - dropped;
    result.not_predicted += dropped;
  }
  RETURN_IF_ERROR(status);
  double sums[3] = {result.nats, static_cast<double>(result.tokens),
                    static_cast<double>(result.not_predicted)};
  RETURN_IF_ERROR(collective->AllReduceSum(sums, 3));
  return EvaluationResult{sums[0], std::llround(sums[1]), std::llround(sums[2])};
}

}  // namespace tritter
