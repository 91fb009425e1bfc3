// Training as Prometheus metrics.
#pragma once

#include <string>

#include "common/mutex.h"
#include "monitoring/registry.h"
#include "worker/training_observer.h"

namespace tritter {

// Thread-safe. Owned by main; the registry outlives it. Gauges of a run vanish when its epoch ends
// here.
class WorkerMetrics : public TrainingObserver {
 public:
  explicit WorkerMetrics(Registry* registry);
  void OnEpochStarted(const Assignment& assignment) override;
  void OnStep(const StepReport& report, int64_t own_tokens) override;
  void OnEvaluation(const EvaluationReport& report) override;
  void OnCheckpoint(const CheckpointEnd& end) override;
  void OnNonFinite() override { non_finite_.Increment(1); }
  void OnEpochEnded(const absl::Status& status) override;

 private:
  std::string Run();

  Registry* const registry_;
  Counter tokens_, sent_bytes_;
  Histogram step_seconds_;
  Counter data_seconds_, forward_seconds_, backward_seconds_, reduce_seconds_, optimizer_seconds_,
      other_seconds_;
  Histogram checkpoint_seconds_;
  Counter checkpoint_bytes_;
  Counter non_finite_;
  Mutex mu_;
  std::string run_ GUARDED_BY(mu_);
};

}  // namespace tritter
