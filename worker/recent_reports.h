// What rank 0 may not have told the coordinator yet, known to every rank: whoever outlives it tells
// the rest.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "worker/collective.h"
#include "worker/plan.h"

namespace tritter {

// Thread-safe. Losses and evaluations of the steps beyond the newest checkpoint, in the order of
// their steps; of log lines and failures nothing. Owned by the epoch; travels with its state.
class RecentReports {
 public:
  // The oldest go beyond `max_steps`: as many as a ProgressReporter keeps.
  explicit RecentReports(size_t max_steps = 20000) : max_steps_(max_steps) {}

  void Add(StepReport report);
  void Add(EvaluationReport report);
  // Up to `step` everything is with the coordinator: a checkpoint of it is committed.
  void Forget(int64_t step);
  bool Evaluated(int64_t step) const;
  Progress Get() const;
  void Set(Progress reports);

 private:
  const size_t max_steps_;
  mutable Mutex mu_;
  Progress reports_ GUARDED_BY(mu_);  // steps and evaluations only
};

// All ranks together: everyone has those of `root` afterwards. Errors: the collective's; DataLoss
// (what came cannot be read).
absl::Status ShareReports(int root, Collective* collective, RecentReports* reports);

}  // namespace tritter
