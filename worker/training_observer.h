// What others may want to see of training (metrics), without the domain knowing them.
#pragma once

#include "absl/status/status.h"
#include "worker/plan.h"

namespace tritter {

// Called from the training and writer threads; thread-safe and quick. Lives as long as the process.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void OnEpochStarted(const Assignment& assignment) {}
  virtual void OnTrainingStarted(int64_t step, double seconds_to_ready) {
  }  // group formed, state there
  virtual void OnStep(const StepReport& report) {}
  virtual void OnEvaluation(const EvaluationReport& report) {}
  virtual void OnCheckpoint(int64_t step, double seconds, const absl::Status& status) {}
  virtual void OnWait(double seconds) {}  // for a plan or an unfinished checkpoint
  virtual void OnEpochEnded(const absl::Status& status) {}
};

}  // namespace tritter
