#include "inference/engine_metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

RequestLimits Limits() {
  RequestLimits limits;
  limits.kv_pages = 10;
  limits.kv_page_bytes = 1024;
  return limits;
}

TEST(EngineMetrics, NamesModelAndKernelAndCapacity) {
  Registry registry("inference");
  EngineMetrics metrics(&registry, "chat", "avx2", Limits());
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_kernel_info{kernel=\"avx2\"} 1"));
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_model_info{model=\"chat\"} 1"));
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_kv_cache_capacity_bytes 10240"));
}

TEST(EngineMetrics, CountsStepsAndOutcomes) {
  Registry registry("inference");
  EngineMetrics metrics(&registry, "chat", "avx2", Limits());
  StepReport step;
  step.active = 3;
  step.queued = 2;
  step.kv_pages_used = 4;
  step.decoding = 3;
  step.prompt_positions = 7;
  step.generated_tokens = 3;
  step.inter_token = {absl::Milliseconds(5), absl::Milliseconds(6)};
  metrics.OnStep(step);
  RequestUsage usage;
  usage.cached_prompt_tokens = 16;
  metrics.OnFinish(usage, FinishReason::kStop);
  metrics.OnFinish({}, FinishReason::kLength);
  metrics.OnFinish({}, FinishReason::kCancelled);
  metrics.OnFinish({}, FinishReason::kDeadline);
  metrics.OnRefused();
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("tritter_requests_running 3"));
  EXPECT_THAT(text, HasSubstr("tritter_requests_waiting 2"));
  EXPECT_THAT(text, HasSubstr("tritter_kv_cache_used_bytes 4096"));
  EXPECT_THAT(text, HasSubstr("tritter_generated_tokens_total 3"));
  EXPECT_THAT(text, HasSubstr("tritter_prompt_tokens_total 7"));
  EXPECT_THAT(text, HasSubstr("tritter_cached_prompt_tokens_total 16"));
  EXPECT_THAT(text, HasSubstr("tritter_inter_token_seconds_count 2"));
  EXPECT_THAT(text, HasSubstr("tritter_requests_total{outcome=\"ok\"} 2"));
  EXPECT_THAT(text, HasSubstr("tritter_requests_total{outcome=\"cancelled\"} 1"));
  EXPECT_THAT(text, HasSubstr("tritter_requests_total{outcome=\"failed\"} 1"));
  EXPECT_THAT(text, HasSubstr("tritter_requests_total{outcome=\"refused\"} 1"));
}

TEST(EngineMetrics, AStreamedModelShowsWhatItReadsAndWhatTheDiskCouldGive) {
  Registry registry("inference");
  EngineMetrics chat(&registry, "chat", "avx2", Limits()), big(&registry, "big", "avx2", Limits());
  StepReport step;
  chat.OnStep(step);
  step.duration = absl::Seconds(2);
  step.stream = {1000, 4000, 7000, absl::Seconds(1)};
  big.OnStep(step);
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_stream_read_bytes_total{model=\"big\"} 7000"));
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_stream_bytes_per_second{model=\"big\"} 0"))
      << "7000 bytes were not read in the two seconds of this step alone";
  step.stream.bytes_read += 1000;
  step.stream.waiting += absl::Seconds(1.5);
  big.OnStep(step);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("tritter_stream_read_bytes_total{model=\"big\"} 8000"));
  EXPECT_THAT(text, HasSubstr("tritter_stream_wait_seconds_total{model=\"big\"} 2.5"));
  EXPECT_THAT(text, HasSubstr("tritter_stream_bytes_per_second{model=\"big\"} 500"));
  EXPECT_THAT(text, HasSubstr("tritter_stream_source_bytes_per_second{model=\"big\"} 4000"));
  EXPECT_THAT(text, HasSubstr("tritter_stream_step_bytes{model=\"big\"} 1000"));
  EXPECT_THAT(text, HasSubstr("tritter_stream_step_bytes{model=\"chat\"} 0")) << "all in memory";
}

TEST(EngineMetrics, FiguresOfSeveralEnginesAddUpAndGoWithThem) {
  Registry registry("inference");
  EngineMetrics chat(&registry, "chat", "avx2", Limits());
  StepReport step;
  step.active = 3;
  chat.OnStep(step);
  {
    EngineMetrics newer(&registry, "chat", "avx2", Limits()),
        other(&registry, "b", "avx2", Limits());
    step.active = 2;
    other.OnStep(step);
    other.OnStep(step);
    EXPECT_THAT(registry.Text(), HasSubstr("tritter_requests_running 5"));
    EXPECT_THAT(registry.Text(), HasSubstr("tritter_model_info{model=\"chat\"} 2"));
    EXPECT_THAT(registry.Text(), HasSubstr("tritter_kv_cache_capacity_bytes 30720"));
  }
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_requests_running 3"));
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_model_info{model=\"chat\"} 1"));
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_model_info{model=\"b\"} 0"));
}

}  // namespace
}  // namespace tritter
