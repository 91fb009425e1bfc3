// Held-out loss of every source, by all ranks together.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "worker/epoch_parts.h"
#include "worker/plan.h"

namespace tritter {

// Every rank calls it at the same step; each takes its windows and the trainer sums over the ranks,
// so that all get the same figures. The averaged weights, and the raw ones too where `raw`. Errors:
// those of Trainer::Evaluate and of reading.
absl::StatusOr<std::vector<EvaluationReport>> EvaluateHeldOut(Trainer* trainer, EpochData* data,
                                                              int rank, int world_size, bool raw,
                                                              Clock* clock);

}  // namespace tritter
