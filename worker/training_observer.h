// What others may want to see of training (metrics), without the domain knowing them.
#pragma once

#include "absl/status/status.h"
#include "worker/plan.h"

namespace tritter {

// How a checkpoint went on this worker.
struct CheckpointEnd {
  CheckpointOrder order;
  double write_seconds = 0;  // until this worker's share was durable
  uint64_t bytes = 0;        // of the share; 0 when it did not become durable
  double seconds = 0;        // until it was committed, or failed
  absl::Status status;
};

// Called from the training and writer threads; thread-safe and quick. Lives as long as the process.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void OnEpochStarted(const Assignment& assignment) {}
  virtual void OnStep(const StepReport& report, int64_t own_tokens) {}
  virtual void OnEvaluation(const EvaluationReport& report) {}
  virtual void OnCheckpoint(const CheckpointEnd& end) {}
  virtual void OnNonFinite() {}  // a step's loss or gradient was not finite
  virtual void OnEpochEnded(const absl::Status& status) {}
};

}  // namespace tritter
