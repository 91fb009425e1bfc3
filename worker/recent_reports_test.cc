#include "worker/recent_reports.h"

#include <memory>
#include <thread>
#include <vector>

#include "common/testing/status_matchers.h"
#include "worker/testing/fake_collective.h"

namespace tritter {
namespace {

StepReport Step(int64_t step) {
  StepReport report;
  report.step = step;
  report.epoch = 3;
  report.loss = 1.0 / static_cast<double>(3 * step);  // no short fraction
  report.grad_norm = 0.1 * static_cast<double>(step);
  report.learning_rate = 1e-3 / 7;
  report.tokens = 2048;
  report.phase = TrainingPhase::kWarmup;
  report.step_seconds = 0.5;
  report.sent_bytes = 12345;
  report.time = absl::FromUnixMillis(1000 + step);
  return report;
}
EvaluationReport Evaluation(int64_t step) {
  EvaluationReport report;
  report.step = step;
  report.source = "text";
  report.averaged = false;
  report.loss = 1.0 / 7;
  report.bits_per_byte = 1.0 / 3;
  report.tokens = 100;
  report.raw_bytes = 101;
  report.seconds = 0.25;
  return report;
}
std::vector<int64_t> Steps(const Progress& progress) {
  std::vector<int64_t> steps;
  for (const StepReport& report : progress.steps) steps.push_back(report.step);
  return steps;
}

TEST(RecentReports, ForgetsWhatACheckpointHasSettled) {
  RecentReports reports;
  for (const int64_t step : {1, 2, 3}) reports.Add(Step(step));
  reports.Add(Evaluation(2));
  reports.Add(Evaluation(3));
  EXPECT_TRUE(reports.Evaluated(2));
  reports.Forget(2);
  EXPECT_EQ(Steps(reports.Get()), std::vector<int64_t>{3});
  EXPECT_FALSE(reports.Evaluated(2));
  EXPECT_TRUE(reports.Evaluated(3));
}

TEST(RecentReports, KeepsTheNewestWithinItsBound) {
  RecentReports reports(4);
  for (int64_t step = 1; step <= 11; ++step) reports.Add(Step(step));
  EXPECT_EQ(Steps(reports.Get()), (std::vector<int64_t>{8, 9, 10, 11}));
}

TEST(RecentReports, EveryRankHasThoseOfTheRootToTheLastBit) {
  const auto group = MakeFakeGroup(3);
  std::vector<RecentReports> reports(3);
  reports[0].Add(Step(9));
  reports[1].Add(Step(7));
  reports[1].Add(Step(8));
  reports[1].Add(Evaluation(8));
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.emplace_back([&, rank] {
      EXPECT_OK(ShareReports(1, group[rank].get(), &reports[rank]));
      EXPECT_OK(ShareReports(1, group[rank].get(), &reports[rank]));  // again changes nothing
    });
  }
  for (std::thread& rank : ranks) rank.join();
  for (const RecentReports& of : reports) {
    const Progress got = of.Get();
    ASSERT_EQ(Steps(got), (std::vector<int64_t>{7, 8}));
    const StepReport &step = got.steps[1], want = Step(8);
    EXPECT_EQ(step.epoch, want.epoch);
    EXPECT_EQ(step.loss, want.loss);
    EXPECT_EQ(step.grad_norm, want.grad_norm);
    EXPECT_EQ(step.learning_rate, want.learning_rate);
    EXPECT_EQ(step.tokens, want.tokens);
    EXPECT_EQ(step.phase, want.phase);
    EXPECT_EQ(step.step_seconds, want.step_seconds);
    EXPECT_EQ(step.sent_bytes, want.sent_bytes);
    EXPECT_EQ(step.time, want.time);
    ASSERT_EQ(got.evaluations.size(), 1u);
    const EvaluationReport &evaluation = got.evaluations[0], wanted = Evaluation(8);
    EXPECT_EQ(evaluation.step, wanted.step);
    EXPECT_EQ(evaluation.source, wanted.source);
    EXPECT_EQ(evaluation.averaged, wanted.averaged);
    EXPECT_EQ(evaluation.loss, wanted.loss);
    EXPECT_EQ(evaluation.bits_per_byte, wanted.bits_per_byte);
    EXPECT_EQ(evaluation.tokens, wanted.tokens);
    EXPECT_EQ(evaluation.raw_bytes, wanted.raw_bytes);
  }
}

TEST(RecentReports, ARootWithoutAnyLeavesNone) {
  const auto group = MakeFakeGroup(2);
  std::vector<RecentReports> reports(2);
  reports[1].Add(Step(9));
  std::thread other([&] { EXPECT_OK(ShareReports(0, group[1].get(), &reports[1])); });
  EXPECT_OK(ShareReports(0, group[0].get(), &reports[0]));
  other.join();
  EXPECT_TRUE(reports[1].Get().empty());
}

}  // namespace
}  // namespace tritter
