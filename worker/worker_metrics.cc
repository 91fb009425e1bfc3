#include "worker/worker_metrics.h"

namespace tritter {
namespace {
Counter PartSeconds(Registry* registry, const char* part) {
  return registry->GetCounter("tritter_train_step_part_seconds_total", {{"part", part}});
}
}  // namespace

WorkerMetrics::WorkerMetrics(Registry* registry)
    : registry_(registry),
      tokens_(registry->GetCounter("tritter_train_tokens_total")),
      sent_bytes_(registry->GetCounter("tritter_train_sent_bytes_total")),
      step_seconds_(registry->GetHistogram("tritter_train_step_seconds")),
      data_seconds_(PartSeconds(registry, "data")),
      forward_seconds_(PartSeconds(registry, "forward")),
      backward_seconds_(PartSeconds(registry, "backward")),
      reduce_seconds_(PartSeconds(registry, "reduce")),
      optimizer_seconds_(PartSeconds(registry, "optimizer")),
      other_seconds_(PartSeconds(registry, "other")),
      checkpoint_seconds_(registry->GetHistogram("tritter_checkpoint_write_seconds")),
      checkpoint_bytes_(registry->GetCounter("tritter_checkpoint_written_bytes_total")),
      non_finite_(registry->GetCounter("tritter_train_non_finite_total")) {}

std::string WorkerMetrics::Run() {
  MutexLock lock(&mu_);
  return run_;
}

void WorkerMetrics::OnEpochStarted(const Assignment& assignment) {
  MutexLock lock(&mu_);
  run_ = assignment.id.run_id;
}

void WorkerMetrics::OnStep(const StepReport& report, int64_t own_tokens) {
  const MetricLabels run = {{"run", Run()}};
  registry_->GetGauge("tritter_train_step", run).Set(static_cast<double>(report.step));
  registry_->GetGauge("tritter_train_loss", run).Set(report.loss);
  registry_->GetGauge("tritter_train_learning_rate", run).Set(report.learning_rate);
  registry_->GetGauge("tritter_train_grad_norm", run).Set(report.grad_norm);
  tokens_.Increment(static_cast<double>(own_tokens));
  sent_bytes_.Increment(static_cast<double>(report.sent_bytes));
  step_seconds_.Observe(report.step_seconds);
  data_seconds_.Increment(report.data_seconds);
  forward_seconds_.Increment(report.forward_seconds);
  backward_seconds_.Increment(report.backward_seconds);
  reduce_seconds_.Increment(report.reduce_seconds);
  optimizer_seconds_.Increment(report.optimizer_seconds);
  other_seconds_.Increment(report.other_seconds());
}

void WorkerMetrics::OnEvaluation(const EvaluationReport& report) {
  const MetricLabels labels = {
      {"run", Run()}, {"source", report.source}, {"weights", report.averaged ? "averaged" : "raw"}};
  registry_->GetGauge("tritter_eval_loss", labels).Set(report.loss);
  registry_->GetGauge("tritter_eval_bits_per_byte", labels).Set(report.bits_per_byte);
}

void WorkerMetrics::OnCheckpoint(const CheckpointEnd& end) {
  if (end.bytes == 0) return;  // nothing became durable
  checkpoint_seconds_.Observe(end.write_seconds);
  checkpoint_bytes_.Increment(static_cast<double>(end.bytes));
}

void WorkerMetrics::OnEpochEnded(const absl::Status&) { registry_->RemoveSeries("run", Run()); }

}  // namespace tritter
