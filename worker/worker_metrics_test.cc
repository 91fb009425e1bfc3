#include "worker/worker_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tritter {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(WorkerMetrics, ShowsTheLastStepAndForgetsTheRunAtItsEnd) {
  Registry registry("worker");
  WorkerMetrics metrics(&registry);
  Assignment assignment;
  assignment.id = {"run-1", 2};
  metrics.OnEpochStarted(assignment);
  StepReport step;
  step.step = 7;
  step.loss = 2.5;
  step.grad_norm = 0.25;
  step.step_seconds = 0.75;
  step.data_seconds = 0.125;
  step.reduce_seconds = 0.5;
  step.sent_bytes = 3000;
  metrics.OnStep(step, 512);
  metrics.OnStep(step, 512);
  EvaluationReport evaluation;
  evaluation.source = "text";
  evaluation.bits_per_byte = 2.125;
  metrics.OnEvaluation(evaluation);
  CheckpointEnd end;
  end.bytes = 4096;
  end.write_seconds = 0.5;
  metrics.OnCheckpoint(end);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("tritter_train_loss{run=\"run-1\"} 2.5"));
  EXPECT_THAT(text, HasSubstr("tritter_train_step{run=\"run-1\"} 7"));
  EXPECT_THAT(text, HasSubstr("tritter_train_tokens_total 1024"));
  EXPECT_THAT(text, HasSubstr("tritter_train_sent_bytes_total 6000"));
  EXPECT_THAT(text, HasSubstr("tritter_train_step_part_seconds_total{part=\"reduce\"} 1"));
  EXPECT_THAT(text, HasSubstr("tritter_train_step_part_seconds_total{part=\"other\"} 0.25"));
  EXPECT_THAT(text, HasSubstr("2.125"));
  EXPECT_THAT(text, HasSubstr("tritter_checkpoint_written_bytes_total 4096"));
  EXPECT_THAT(text, HasSubstr("tritter_train_non_finite_total 0"));
  metrics.OnNonFinite();
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_train_non_finite_total 1"));
  metrics.OnEpochEnded(absl::OkStatus());
  EXPECT_THAT(registry.Text(), Not(HasSubstr("run-1")));
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_train_tokens_total 1024"));
}

TEST(WorkerMetrics, CheckpointThatDidNotBecomeDurableCountsNothing) {
  Registry registry("worker");
  WorkerMetrics metrics(&registry);
  metrics.OnCheckpoint({});
  EXPECT_THAT(registry.Text(), HasSubstr("tritter_checkpoint_written_bytes_total 0"));
}

}  // namespace
}  // namespace tritter
