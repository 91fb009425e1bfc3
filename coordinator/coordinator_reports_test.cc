// Figures of workers: what is taken, what becomes of the sums over them.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
using Code = absl::StatusCode;

class ReportsTest : public CoordinatorFixture {
 protected:
  void SetUp() override { Start(); }
  // Of a step in the live epoch, or the one before, of a run of `agent`.
  v1::ReportRequest StepOf(const FakeAgent& agent, const std::string& id, uint64_t epoch,
                           int64_t step) {
    v1::ReportRequest report;
    *report.mutable_worker() = agent.Identity();
    report.set_run_id(id);
    report.set_epoch(epoch);
    v1::StepMetrics* m = report.add_steps();
    m->set_step(step);
    m->set_loss(2);
    m->set_tokens(2048);
    m->set_step_seconds(1);
    return report;
  }
  double Productive(const std::string& id) {
    return coordinator_->Stats().training.at(id).productive_seconds;
  }
};

TEST_F(ReportsTest, OneFigureThatIsNoNumberDoesNotStopTheCountOfProductiveTime) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  for (const double bad : {std::nan(""), -1e6, double{INFINITY}}) {
    v1::ReportRequest report = StepOf(*w, id, 1, w->step());
    report.mutable_steps(0)->set_step_seconds(bad);
    const absl::Status refused = coordinator_->Report(report);
    EXPECT_THAT(refused, StatusIs(Code::kInvalidArgument, HasSubstr("step_seconds of step")));
    EXPECT_EQ(DetailOf(refused)->actual(), absl::StrCat(bad));
  }
  RoundsUntil([&] { return Get(id).committed_step() >= 20; });
  EXPECT_EQ(Productive(id), 20);
}

// Goodput is productive over active time: a loss lowers it by what is waited for the next worker,
// and a restart of the coordinator by nothing.
TEST_F(ReportsTest, WaitingAndRecoveringIsActiveTimeAndPausesAreNot) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  const auto active = [&] { return coordinator_->Stats().training.at(id).active_seconds; };
  Rounds(100);
  EXPECT_EQ(active(), 0) << "it has not started";
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  const double trained = active();
  EXPECT_GT(trained, 0);
  EXPECT_EQ(Productive(id), 20);
  Kill(w);
  Rounds(300);  // of 0.1 s
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_NEAR(active() - trained, 30, 1e-6);
  EXPECT_EQ(Productive(id), 20);
  ASSERT_OK(coordinator_->Pause(id));
  const double paused = active();
  Rounds(300);
  EXPECT_EQ(active(), paused);
  ASSERT_OK(coordinator_->Resume(id));
  Rounds(100);
  EXPECT_NEAR(active() - paused, 10, 1e-6) << "in the queue, once started";
}

TEST_F(ReportsTest, StepsReportedBeforeARestartAreProductiveWhenTheyAreCommittedAfterIt) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20 && Get(id).step() == 35; });
  EXPECT_EQ(Productive(id), 20);
  Start();
  ASSERT_OK(w->Connect());
  EXPECT_EQ(Productive(id), 0) << "counted anew by every process";
  RoundsUntil([&] { return Get(id).committed_step() == 40; });
  EXPECT_EQ(Productive(id), 20) << "15 of them were reported to the one before";
}

TEST_F(ReportsTest, SumsOverReportsDoNotOverflow) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  Stop();
  WriteBatch batch;
  batch.runs = *memory_store_.Runs();
  batch.runs[0].reported_us = batch.runs[0].reported_tokens =
      std::numeric_limits<int64_t>::max() - 10;
  ASSERT_OK(memory_store_.Apply(batch));
  Start();
  AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  EXPECT_EQ(Get(id).reported_tokens(), std::numeric_limits<int64_t>::max());
  EXPECT_GT(Get(id).reported_seconds(), 9e12);
}

TEST_F(ReportsTest, EvaluationsOfWhatTheRunDoesNotHaveAreNeitherKeptNorShown) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  v1::ReportRequest report = StepOf(*w, id, 1, 3);
  report.clear_steps();
  v1::EvaluationPoint* e = report.add_evaluations();
  for (int i = 0; i < 1000; ++i) {
    e->set_step(3);
    e->set_source(absl::StrCat(std::string(1000, 'x'), i));
    e->set_weights("averaged");
    EXPECT_THAT(coordinator_->Report(report),
                StatusIs(Code::kInvalidArgument, HasSubstr("evaluations: source")));
  }
  e->set_source("text");
  e->set_step(101);
  EXPECT_THAT(coordinator_->Report(report),
              StatusIs(Code::kInvalidArgument, HasSubstr("evaluations: step is 101")));
  EXPECT_THAT(Get(id).last_evaluation(), SizeIs(0));
  v1::ListMetricsRequest request;
  request.set_run(id);
  EXPECT_THAT(coordinator_->ListMetrics(request)->evaluations(), SizeIs(0));
  e->set_step(3);
  ASSERT_OK(coordinator_->Report(report));
  EXPECT_THAT(Get(id).last_evaluation(), SizeIs(1));
}

TEST_F(ReportsTest, LateEvaluationsAreHeldToTheSame) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).committed_step() == 20 && Get(id).step() >= 25; });
  Kill(b);
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; }, 20);
  const auto shown = Get(id).last_evaluation_size();
  v1::ReportRequest late = StepOf(*a, id, 1, 21);
  v1::EvaluationPoint* e = late.add_evaluations();
  e->set_step(21);
  e->set_source("nothing");
  e->set_weights("averaged");
  EXPECT_THAT(coordinator_->Report(late),
              StatusIs(Code::kInvalidArgument, HasSubstr("source is \"nothing\"")));
  EXPECT_EQ(Get(id).last_evaluation_size(), shown);
  e->set_source("text");
  EXPECT_THAT(coordinator_->Report(late), StatusIs(Code::kFailedPrecondition));  // leave
}

TEST_F(ReportsTest, ASpeedThatIsNoNumberIsRefusedAndForgotten) {
  FakeAgent* w = AddWorker("w");
  const std::string id = Submit(RunYaml("run", 100, 1));
  RoundsUntil([&] { return Get(id).step() >= 3; });
  w->seconds_per_sequence = std::nan("");
  w->Act();
  EXPECT_THAT(w->last_error(),
              StatusIs(Code::kInvalidArgument, HasSubstr("seconds_per_sequence is nan")));
  w->seconds_per_sequence = 0.1;
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
}

}  // namespace
}  // namespace tritter
