#include "worker/progress_reporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "common/testing/status_matchers.h"
#include "worker/testing/fake_coordinator_link.h"

namespace tritter {
namespace {

class ProgressReporterTest : public testing::Test {
 protected:
  std::unique_ptr<ProgressReporter> Make(bool metrics = true, size_t max_steps = 100) {
    return std::make_unique<ProgressReporter>(
        ProgressReporter::Options{.link = &link_,
                                  .cancellation = &cancellation_,
                                  .id = {"run-1", 1},
                                  .request_prefix = "w",
                                  .send_metrics = metrics,
                                  .interval = absl::Milliseconds(1),
                                  .backoff = {absl::Milliseconds(1), absl::Milliseconds(2)},
                                  .max_steps = max_steps,
                                  .max_log_lines = 10,
                                  .on_stale = [this](const absl::Status&) { stale_ = true; }});
  }
  static StepReport Step(int64_t n) {
    StepReport report;
    report.step = n;
    return report;
  }

  FakeCoordinatorLink link_{{}};
  Cancellation cancellation_;
  std::atomic<bool> stale_{false};
};

TEST_F(ProgressReporterTest, DeliversEverythingOnceAndInOrder) {
  auto reporter = Make();
  for (int i = 1; i <= 50; ++i) reporter->AddStep(Step(i));
  EXPECT_TRUE(reporter->Flush(absl::Seconds(30)));
  ASSERT_EQ(link_.steps().size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(link_.steps()[i].step, i + 1);
}

TEST_F(ProgressReporterTest, AwaitsTheDeliveryOfAStepAlsoWhileLaterOnesCome) {
  link_.GoAway();
  auto reporter = Make();
  reporter->AddStep(Step(1));
  link_.AwaitRefusals(1);
  link_.Return();
  ASSERT_OK(reporter->AwaitDelivery(1));
  EXPECT_EQ(link_.steps().size(), 1u);
  EXPECT_OK(reporter->AwaitDelivery(7));  // nothing is waiting
  link_.GoAway();
  reporter->AddStep(Step(2));
  EXPECT_OK(reporter->AwaitDelivery(1));
  cancellation_.Cancel(absl::CancelledError("the epoch is over"));
  EXPECT_THAT(reporter->AwaitDelivery(2), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(ProgressReporterTest, KeepsTheNewestWhileTheCoordinatorIsAway) {
  link_.GoAway();
  auto reporter = Make(true, 20);
  reporter->AddStep(Step(1));
  link_.AwaitRefusals(1);  // step 1 is on its way and stays so
  for (int i = 2; i <= 60; ++i) reporter->AddStep(Step(i));
  EXPECT_FALSE(reporter->Flush(absl::Milliseconds(5)));
  link_.Return();
  EXPECT_TRUE(reporter->Flush(absl::Seconds(30)));
  const auto steps = link_.steps();
  ASSERT_EQ(steps.size(), 21u);
  EXPECT_EQ(steps[0].step, 1);
  EXPECT_EQ(steps[1].step, 41);
  EXPECT_EQ(steps.back().step, 60);
  EXPECT_THAT(link_.log_lines(), testing::Contains("progress_dropped count=39"));
}

TEST_F(ProgressReporterTest, NothingIsLostWhileTheCoordinatorsDiskIsFull) {
  link_.GoAway(absl::ResourceExhaustedError("store: no space left on device"));
  auto reporter = Make();
  reporter->AddStep(Step(1));
  link_.AwaitRefusals(2);
  EXPECT_TRUE(link_.steps().empty());
  link_.Return();
  EXPECT_TRUE(reporter->Flush(absl::Seconds(30)));
  EXPECT_EQ(link_.steps().size(), 1u);
}

TEST_F(ProgressReporterTest, AFailureDoesNotWaitBehindReportsThatAreRefused) {
  link_.RefuseSteps(absl::ResourceExhaustedError("store: no space left on device"));
  auto reporter = Make();
  reporter->AddStep(Step(1));
  link_.AwaitRefusals(1);
  EXPECT_TRUE(reporter->Fail({"no such shard", "", true}, absl::Milliseconds(100)));
  EXPECT_EQ(link_.failure(), "no such shard");
  EXPECT_TRUE(link_.failure_is_permanent());
  EXPECT_TRUE(link_.steps().empty());
}

TEST_F(ProgressReporterTest, SendsWhatHasPiledUpInReportsOfBoundedSize) {
  link_.GoAway();
  auto reporter = Make(true, 10000);
  reporter->AddLogLine({absl::UnixEpoch(), std::string(100000, 'x')});
  link_.AwaitRefusals(1);
  for (int i = 1; i <= 5000; ++i) reporter->AddStep(Step(i));
  link_.Return();
  EXPECT_TRUE(reporter->Fail({std::string(100000, 'y')}, absl::Seconds(30)));
  EXPECT_EQ(link_.steps().size(), 5000u);
  EXPECT_LE(link_.largest_report(), 2000u);
  EXPECT_EQ(link_.log_lines()[0].size(), 2000u);
  EXPECT_EQ(link_.failure().size(), 8000u);
}

TEST_F(ProgressReporterTest, OtherRanksSendOnlyLogLinesAndFailures) {
  auto reporter = Make(/*metrics=*/false);
  reporter->AddStep(Step(1));
  reporter->AddEvaluation({});
  reporter->AddLogLine({absl::UnixEpoch(), "hello"});
  EXPECT_TRUE(reporter->Fail({"no such shard", "", true}, absl::Seconds(30)));
  EXPECT_TRUE(link_.steps().empty());
  EXPECT_TRUE(link_.evaluations().empty());
  EXPECT_EQ(link_.log_lines(), std::vector<std::string>{"hello"});
  EXPECT_EQ(link_.failure(), "no such shard");
  EXPECT_TRUE(link_.failure_is_permanent());
}

TEST_F(ProgressReporterTest, SaysWhenTheEpochIsStale) {
  link_.CloseEpoch();
  auto reporter = Make();
  reporter->AddStep(Step(1));
  reporter->Flush(absl::Seconds(30));
  EXPECT_TRUE(stale_);
}

TEST_F(ProgressReporterTest, EndsWhileTheCoordinatorIsAway) {
  link_.GoAway();
  auto reporter = Make();
  reporter->AddStep(Step(1));
  link_.AwaitRefusals(2);
  reporter.reset();  // does not wait for the coordinator
  EXPECT_TRUE(link_.steps().empty());
}

}  // namespace
}  // namespace tritter
