// Held-out loss of every source, by all ranks together.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "worker/cancellation.h"
#include "worker/collective.h"
#include "worker/epoch_parts.h"
#include "worker/plan.h"

namespace tritter {

// Every rank calls it at the same step; each takes its windows (`share`) and the trainer sums over
// the ranks, so that all get the same figures, or none: where one has not read all of its windows
// the others hear of it. The averaged weights, and the raw ones too where `raw`. Errors: those of
// Trainer::Evaluate and of reading; Aborted (cancelled, looked at before every window); Unavailable
// (another rank gave up).
absl::StatusOr<std::vector<EvaluationReport>> EvaluateHeldOut(Trainer* trainer, EpochData* data,
                                                              const WindowShare& share,
                                                              Collective* collective,
                                                              const Cancellation& cancellation,
                                                              bool raw, Clock* clock);

}  // namespace tritter
