#include "inference/engine_metrics.h"

#include "absl/time/time.h"

namespace tritter {

EngineMetrics::EngineMetrics(Registry* registry, const std::string& model,
                             const std::string& kernel, const RequestLimits& limits)
    : page_bytes_(static_cast<double>(limits.kv_page_bytes)),
      running_(registry->GetGauge("tritter_requests_running")),
      waiting_(registry->GetGauge("tritter_requests_waiting")),
      kv_used_(registry->GetGauge("tritter_kv_cache_used_bytes")),
      kv_capacity_(registry->GetGauge("tritter_kv_cache_capacity_bytes")),
      model_(registry->GetGauge("tritter_model_info", {{"model", model}})),
      ok_(registry->GetCounter("tritter_requests_total", {{"outcome", "ok"}})),
      cancelled_(registry->GetCounter("tritter_requests_total", {{"outcome", "cancelled"}})),
      refused_(registry->GetCounter("tritter_requests_total", {{"outcome", "refused"}})),
      failed_(registry->GetCounter("tritter_requests_total", {{"outcome", "failed"}})),
      prompt_tokens_(registry->GetCounter("tritter_prompt_tokens_total")),
      cached_tokens_(registry->GetCounter("tritter_cached_prompt_tokens_total")),
      generated_tokens_(registry->GetCounter("tritter_generated_tokens_total")),
      first_token_(registry->GetHistogram("tritter_time_to_first_token_seconds")),
      inter_token_(registry->GetHistogram("tritter_inter_token_seconds")),
      queue_(registry->GetHistogram("tritter_queue_seconds")),
      batch_(registry->GetHistogram("tritter_batch_size")),
      stream_(registry, model) {
  kv_capacity_.Set(page_bytes_ * static_cast<double>(limits.kv_pages));
  registry->GetGauge("tritter_kernel_info", {{"kernel", kernel}}).Set(1);
  model_.Set(1);
}

void EngineMetrics::OnStep(const StepReport& report) {
  running_.Set(static_cast<double>(report.active));
  waiting_.Set(static_cast<double>(report.queued));
  kv_used_.Set(page_bytes_ * static_cast<double>(report.kv_pages_used));
  if (report.decoding > 0) batch_.Observe(static_cast<double>(report.decoding));
  prompt_tokens_.Increment(static_cast<double>(report.prompt_positions));
  generated_tokens_.Increment(static_cast<double>(report.generated_tokens));
  stream_.Report(report.stream, report.duration);
  for (absl::Duration gap : report.inter_token) inter_token_.Observe(absl::ToDoubleSeconds(gap));
}

EngineMetrics::Stream::Stream(Registry* registry, const std::string& model)
    : read_bytes_(registry->GetCounter("tritter_stream_read_bytes_total", {{"model", model}})),
      wait_seconds_(registry->GetCounter("tritter_stream_wait_seconds_total", {{"model", model}})),
      achieved_(registry->GetGauge("tritter_stream_bytes_per_second", {{"model", model}})),
      possible_(registry->GetGauge("tritter_stream_source_bytes_per_second", {{"model", model}})),
      step_bytes_(registry->GetGauge("tritter_stream_step_bytes", {{"model", model}})) {}

void EngineMetrics::Stream::Report(const StreamStats& stats, absl::Duration step) {
  const double bytes = static_cast<double>(stats.bytes_read - last_.bytes_read);
  read_bytes_.Increment(bytes);
  wait_seconds_.Increment(absl::ToDoubleSeconds(stats.waiting - last_.waiting));
  // The first report counts what was read before there were metrics.
  if (last_.bytes_read > 0 && step > absl::ZeroDuration())
    achieved_.Set(bytes / absl::ToDoubleSeconds(step));
  possible_.Set(stats.source_bytes_per_second);
  step_bytes_.Set(static_cast<double>(stats.bytes_per_pass));
  last_ = stats;
}

void EngineMetrics::OnFinish(const RequestUsage& usage, FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
    case FinishReason::kLength:
      ok_.Increment();
      first_token_.Observe(absl::ToDoubleSeconds(usage.queued + usage.prefill));
      break;
    case FinishReason::kCancelled:
      cancelled_.Increment();
      break;
    case FinishReason::kDeadline:
    case FinishReason::kFailed:
    case FinishReason::kNone:
      failed_.Increment();
      break;
  }
  cached_tokens_.Increment(static_cast<double>(usage.cached_prompt_tokens));
  queue_.Observe(absl::ToDoubleSeconds(usage.queued));
}

}  // namespace tritter
