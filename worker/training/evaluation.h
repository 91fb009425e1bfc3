// Held-out loss through the serving arithmetic.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/collective.h"
#include "worker/training/serving_forward.h"
#include "worker/training/trainer.h"

namespace tritter {

// Sums the nats of every predicted token of the windows, then over the ranks. A window of n + 1
// tokens predicts n of them, less those that the attention mode does not predict; targets of -1
// (padding) are not counted.
absl::StatusOr<EvaluationResult> EvaluateWindows(
    ServingForward* forward, const ModelConfig& config,
    const std::function<bool(std::vector<int64_t>* window)>& next, Collective* collective);

}  // namespace tritter
