// Groups that stop inside a plan, and epochs that go on from the memory of the one before.
#include <array>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "common/testing/status_matchers.h"
#include "worker/testing/epoch_runner_fixture.h"
#include "worker/testing/fake_collective.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using Kind = EpochOutcome::Kind;

// Two ranks of one epoch as threads over a fake group.
class TwoRanksTest : public EpochRunnerTest {
 protected:
  struct Member {
    std::unique_ptr<EpochRunner> runner;
    EpochOutcome outcome;
  };
  static Assignment OrderOf(int rank, uint64_t epoch, int64_t start_step) {
    Assignment order = Order();
    order.id.epoch = epoch;
    order.rank = rank;
    order.world_size = 2;
    order.start_step = start_step;
    order.from_memory = start_step > 0;
    order.state_epoch = 3;
    return order;
  }
  std::array<Member, 2> Form(CoordinatorLink* link, uint64_t epoch, int64_t start_step,
                             int state_rank, std::array<HeldTrainer, 2> held) {
    group_ = MakeFakeGroup(2);
    parts_.connect = [this](const std::string&, int rank, int) { return std::move(group_[rank]); };
    std::array<Member, 2> members;
    for (int rank = 0; rank < 2; ++rank) {
      Assignment order = OrderOf(rank, epoch, start_step);
      order.state_rank = state_rank;
      members[rank].runner = Make(link, std::move(order), nullptr, std::move(held[rank]));
    }
    members[1].runner->SetRendezvous("fake:1");
    return members;
  }
  static void Run(std::array<Member, 2>& members) {
    std::thread second([&] { members[1].outcome = members[1].runner->Run(); });
    members[0].outcome = members[0].runner->Run();
    second.join();
  }
  // What two undisturbed ranks come to.
  uint64_t UndisturbedStateOfTwo() {
    FakeCoordinatorLink link({.world_size = 2});
    auto members = Form(&link, 1, 0, 0, {});
    Run(members);
    EXPECT_EQ(members[0].outcome.kind, Kind::kDone);
    EXPECT_EQ(members[1].outcome.kind, Kind::kDone);
    return parts_.state();
  }

  std::vector<std::unique_ptr<Collective>> group_;
};

TEST_F(TwoRanksTest, OneThatIsToldToYieldStopsBothAtTheSameStep) {
  FakeCoordinatorLink link({.plan_steps = 12, .world_size = 2});
  link.EndWhenYielded(true);
  auto members = Form(&link, 3, 0, 0, {});
  parts_.on_step = [&](int64_t step) {
    if (step == 5) members[1].runner->Yield("worker-c joins", /*until_left=*/false);
    return absl::OkStatus();
  };
  Run(members);
  for (Member& member : members) {
    EXPECT_EQ(member.outcome.kind, Kind::kDone) << member.outcome.status;
    EXPECT_EQ(member.outcome.steps_done, 6);
  }
  EXPECT_EQ(link.yielded_at(), (std::vector<int64_t>{6, 6}));
  EXPECT_EQ(link.steps().size(), 6u);
  EXPECT_THAT(link.log_lines(), testing::Contains(HasSubstr("worker-c joins")));
}

TEST_F(TwoRanksTest, EveryReportSaysWhatItsRankHasSent) {
  FakeCoordinatorLink link({.world_size = 2});
  auto members = Form(&link, 3, 0, 0, {});
  Run(members);
  ASSERT_EQ(link.steps().size(), 12u);
  // The fake's exchange: a sum of two doubles.
  for (const StepReport& step : link.steps()) EXPECT_EQ(step.sent_bytes, 16) << step.step;
}

TEST_F(TwoRanksTest, TheNextEpochGoesOnFromMemoryAsIfNothingHadBeen) {
  const uint64_t want = UndisturbedStateOfTwo();
  FakeCoordinatorLink link({.plan_steps = 12, .world_size = 2});
  link.EndWhenYielded(true);
  auto first = Form(&link, 3, 0, 0, {});
  parts_.on_step = [&](int64_t step) {
    if (step == 5) first[0].runner->Yield("worker-b leaves", /*until_left=*/true);
    return absl::OkStatus();
  };
  Run(first);
  const int64_t step = first[0].outcome.steps_done;
  HeldTrainer held = first[1].runner->TakeState();
  ASSERT_NE(held.trainer, nullptr);
  EXPECT_EQ(held.trainer->step(), step);
  EXPECT_EQ(held.id, (EpochId{"run-1", 3}));
  first = {};  // rank 0 has left for good
  EXPECT_EQ(parts_.trainers_alive(), 1);

  parts_.on_step = nullptr;
  FakeCoordinatorLink rest({.world_size = 2});
  auto second = Form(&rest, 4, step, 1, {HeldTrainer(), std::move(held)});
  Run(second);
  for (Member& member : second)
    EXPECT_EQ(member.outcome.kind, Kind::kDone) << member.outcome.status;
  EXPECT_EQ(parts_.state(), want);
  // Those of before, too: nobody knows what rank 0 had reported.
  ASSERT_EQ(rest.steps().size(), 12u);
  for (int64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(rest.steps()[i].step, i + 1);
    EXPECT_EQ(rest.steps()[i].epoch, i < step ? 3u : 4u);
  }
  EXPECT_EQ(parts_.trainers_alive(), 2);
}

// Rank 0 dies with what it had not reported; rank 1, of which nobody hears losses, knows it all.
TEST_F(TwoRanksTest, TheCurveOfADeadRankZeroIsWholeAndItsEvaluationIsNotMadeAgain) {
  FakeCoordinatorLink whole({.world_size = 2, .evaluate_at = {6}});
  auto undisturbed = Form(&whole, 1, 0, 0, {});
  Run(undisturbed);
  undisturbed = {};

  FakeCoordinatorLink mute({.plan_steps = 12, .world_size = 2, .evaluate_at = {6}});
  mute.RefuseSteps(absl::UnavailableError("connection refused"));
  mute.EndWhenYielded(true);
  auto first = Form(&mute, 3, 0, 0, {});
  parts_.on_step = [&](int64_t step) {
    if (step == 5) first[0].runner->Yield("dies", /*until_left=*/false);
    return absl::OkStatus();
  };
  std::thread killer([&] {
    while (first[1].runner->status().step < 6 || mute.yielded_at().size() < 2)
      std::this_thread::yield();
    first[0].runner->Cancel("killed");  // no time for a farewell
  });
  Run(first);
  killer.join();
  EXPECT_TRUE(mute.steps().empty());
  HeldTrainer held = first[1].runner->TakeState();
  ASSERT_NE(held.trainer, nullptr);
  ASSERT_EQ(held.trainer->step(), 6);
  first = {};

  parts_.on_step = nullptr;
  const int64_t windows = parts_.windows_read;
  FakeCoordinatorLink rest({.world_size = 2, .evaluate_at = {6}, .due_at_start = true});
  auto second = Form(&rest, 4, 6, 1, {HeldTrainer(), std::move(held)});
  Run(second);
  for (Member& member : second)
    EXPECT_EQ(member.outcome.kind, Kind::kDone) << member.outcome.status;
  EXPECT_EQ(parts_.windows_read, windows);
  ASSERT_EQ(rest.steps().size(), whole.steps().size());
  for (size_t i = 0; i < rest.steps().size(); ++i) {
    EXPECT_EQ(rest.steps()[i].step, whole.steps()[i].step);
    EXPECT_EQ(rest.steps()[i].loss, whole.steps()[i].loss);
    EXPECT_EQ(rest.steps()[i].grad_norm, whole.steps()[i].grad_norm);
  }
  ASSERT_EQ(rest.evaluations().size(), whole.evaluations().size());
  for (size_t i = 0; i < rest.evaluations().size(); ++i) {
    EXPECT_EQ(rest.evaluations()[i].step, whole.evaluations()[i].step);
    EXPECT_EQ(rest.evaluations()[i].loss, whole.evaluations()[i].loss);
  }
}

TEST_F(EpochRunnerTest, AnEvaluationEndsWithItsEpoch) {
  FakeCoordinatorLink link({.evaluate_at = {4}});
  std::unique_ptr<EpochRunner> runner;
  parts_.on_window = [&](int) {
    runner->Cancel("worker-b was lost");
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  EXPECT_EQ(parts_.windows_read, 1);
  EXPECT_TRUE(link.evaluations().empty());
  EXPECT_NE(runner->TakeState().trainer, nullptr);
}

TEST_F(TwoRanksTest, AStateThatTheAssignmentNamesAndNobodyHasIsAFailureThatMayPass) {
  FakeCoordinatorLink link({.world_size = 2});
  auto members = Form(&link, 4, 8, 1, {});
  Run(members);
  for (Member& member : members) EXPECT_EQ(member.outcome.kind, Kind::kFailed);
  EXPECT_THAT(link.failure(),
              testing::AllOf(HasSubstr("starting from the memory of members"),
                             HasSubstr("rank 1 was to give the state after 8 steps")));
  EXPECT_FALSE(link.failure_is_permanent());
  EXPECT_EQ(members[0].runner->TakeState().trainer, nullptr);
}

TEST_F(TwoRanksTest, StatesThatDifferFailTheRunAndAreNotKept) {
  std::array<HeldTrainer, 2> held;
  for (const int world : {0, 1}) {
    FakeCoordinatorLink link({.plan_steps = 12, .peak = world + 1.0});
    link.EndWhenYielded(true);
    auto runner = Make(&link, Order());
    parts_.on_step = [&](int64_t step) {
      if (step == 4) runner->Yield("pause asked for", /*until_left=*/false);
      return absl::OkStatus();
    };
    EXPECT_EQ(runner->Run().kind, Kind::kDone);
    held[world] = runner->TakeState();
    ASSERT_NE(held[world].trainer, nullptr);
    EXPECT_EQ(held[world].trainer->step(), 5);
  }
  parts_.on_step = nullptr;
  FakeCoordinatorLink link({.world_size = 2});
  auto members = Form(&link, 4, 5, 0, std::move(held));
  Run(members);
  EXPECT_THAT(link.failure(), HasSubstr("rank 1 not"));
  EXPECT_TRUE(link.failure_is_permanent());
  for (Member& member : members) {
    EXPECT_EQ(member.outcome.kind, Kind::kFailed);
    EXPECT_EQ(member.runner->TakeState().trainer, nullptr);
  }
  EXPECT_TRUE(link.steps().empty());
}

TEST_F(EpochRunnerTest, YieldsInsideAPlanAndGoesOnWhenItIsToldTo) {
  const uint64_t want = UndisturbedState();
  FakeCoordinatorLink link({.plan_steps = 12});
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 2 || step == 6) runner->Yield("worker-c joins", /*until_left=*/false);
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  EXPECT_EQ(link.yielded_at(), (std::vector<int64_t>{3, 7}));  // once for each wish
  EXPECT_EQ(parts_.state(), want);
}

TEST_F(EpochRunnerTest, OneThatLeavesAsksAfterEveryStepUntilItMayGo) {
  FakeCoordinatorLink link({.plan_steps = 12});
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 2) runner->Yield("this worker leaves", /*until_left=*/true);
    if (step == 4) link.EndWhenYielded(true);
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  EXPECT_EQ(link.yielded_at(), (std::vector<int64_t>{3, 4, 5}));
}

TEST_F(EpochRunnerTest, WhereNoPlanCanBeCutTheOneInHandIsFinished) {
  const uint64_t want = UndisturbedState();
  FakeCoordinatorLink link({.plan_steps = 6, .checkpoints = {{3, "3-a"}}, .evaluate_at = {3}});
  link.RefuseYields();
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 2) runner->Yield("this worker leaves", /*until_left=*/true);
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  EXPECT_EQ(link.yielded_at(), std::vector<int64_t>{3}) << "it does not ask again and again";
  EXPECT_EQ(parts_.state(), want);
  EXPECT_EQ(link.evaluations().size(), 2u) << "what was due is done once";
}

TEST_F(EpochRunnerTest, AYieldAfterTheLastStepHasNothingToCut) {
  FakeCoordinatorLink link({.plan_steps = 12});
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 11) runner->Yield("worker-c joins", /*until_left=*/false);
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  EXPECT_TRUE(link.yielded_at().empty());
  EXPECT_EQ(runner->TakeState().trainer, nullptr) << "the run is complete";
}

TEST_F(EpochRunnerTest, WhatWasDueAtAYieldIsDoneBeforeItAsks) {
  FakeCoordinatorLink link({.plan_steps = 12, .checkpoints = {{6, "3-a"}}, .evaluate_at = {6}});
  link.EndWhenYielded(true);
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 5) runner->Yield("pause asked for", /*until_left=*/false);
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  EXPECT_EQ(link.yielded_at(), std::vector<int64_t>{6});
  EXPECT_EQ(link.evaluations().size(), 2u);
  EXPECT_EQ(link.commits().back().order.step, 6);
}

// The question that was asked ahead is answered "wait" for ever: the group stops before its step.
TEST_F(EpochRunnerTest, AYieldGivesUpTheQuestionThatWasAskedAhead) {
  FakeCoordinatorLink link({.plan_steps = 8, .checkpoints = {{8, "3-a"}}, .pause_at = 8});
  link.EndWhenYielded(true);
  std::unique_ptr<EpochRunner> runner;
  Mutex mu;
  CondVar changed;
  bool asked_ahead = false;
  link.OnNextPlan([&](const PlanQuestion& question) {
    MutexLock lock(&mu);
    asked_ahead = asked_ahead || question.from_step == 8;
    changed.NotifyAll();
  });
  parts_.on_step = [&](int64_t step) {
    if (step != 6) return absl::OkStatus();
    MutexLock lock(&mu);
    while (!asked_ahead) changed.Wait(&mu);
    runner->Yield("pause asked for", /*until_left=*/false);
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  EXPECT_EQ(link.yielded_at(), std::vector<int64_t>{7});
}

TEST_F(EpochRunnerTest, GoesOnAloneFromItsOwnMemoryAndDoesWhatWasDueFirst) {
  const uint64_t want = UndisturbedState();
  FakeCoordinatorLink link({});
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 6) runner->Cancel("worker-b was lost");
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  HeldTrainer held = runner->TakeState();
  runner.reset();
  ASSERT_NE(held.trainer, nullptr);
  EXPECT_EQ(held.trainer->step(), 6);
  EXPECT_EQ(parts_.trainers_alive(), 1);
  const int made = parts_.trainers_made();

  parts_.on_step = nullptr;
  Assignment order = Order();
  order.id.epoch = 4;
  order.start_step = 6;
  order.from_memory = true;
  order.state_epoch = 3;
  FakeCoordinatorLink rest({.checkpoints = {{6, "4-a"}}, .evaluate_at = {6}, .due_at_start = true});
  EXPECT_EQ(Make(&rest, order, nullptr, std::move(held))->Run().kind, Kind::kDone);
  EXPECT_EQ(parts_.state(), want);
  EXPECT_EQ(parts_.trainers_made(), made) << "the state stayed where it was";
  ASSERT_EQ(rest.steps().size(), 12u);
  EXPECT_EQ(rest.steps()[6].step, 7);
  ASSERT_EQ(rest.evaluations().size(), 2u);
  EXPECT_EQ(rest.evaluations()[0].step, 6);
  EXPECT_EQ(rest.commits().front().order.step, 6);
}

// A group that is lost between its last step and the checkpoint of that.
TEST_F(EpochRunnerTest, OnlyWritesTheCheckpointWhereTheLastStepIsInMemory) {
  const uint64_t want = UndisturbedState();
  FakeCoordinatorLink link({});
  std::unique_ptr<EpochRunner> runner;
  link.OnNextPlan([&](const PlanQuestion& question) {
    if (question.from_step == 12) link.GoAway();
  });
  runner = Make(&link, Order());
  std::thread canceller([&] {
    while (runner->status().step < 12) std::this_thread::yield();
    runner->Cancel("worker-b was lost");
  });
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  canceller.join();
  HeldTrainer held = runner->TakeState();
  runner.reset();
  ASSERT_NE(held.trainer, nullptr);
  ASSERT_EQ(held.trainer->step(), 12);

  parts_.on_step = [](int64_t) { return absl::InternalError("nothing is left to train"); };
  Assignment order = Order();
  order.id.epoch = 4;
  order.start_step = 12;
  order.from_memory = true;
  order.state_epoch = 3;
  FakeCoordinatorLink rest(
      {.checkpoints = {{12, "4-a"}}, .evaluate_at = {12}, .due_at_start = true});
  runner = Make(&rest, order, nullptr, std::move(held));
  const EpochOutcome outcome = runner->Run();
  EXPECT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  EXPECT_EQ(outcome.steps_done, 12);
  EXPECT_EQ(parts_.state(), want);
  EXPECT_EQ(rest.steps().size(), 12u) << "whoever reported before may be gone";
  ASSERT_EQ(rest.evaluations().size(), 2u);  // of both weights
  for (const FakeCoordinatorLink::Commit& commit : rest.commits()) {
    EXPECT_EQ(commit.order.step, 12);
    EXPECT_EQ(commit.order.attempt, "4-a");
  }
  EXPECT_FALSE(rest.commits().empty());
  EXPECT_EQ(runner->TakeState().trainer, nullptr) << "it is committed";
}

TEST_F(EpochRunnerTest, AStateThatIsNotAskedForIsGivenUpBeforeAnotherIsMade) {
  const auto hold = [&](FakeCoordinatorLink* link) {
    link->EndWhenYielded(true);
    auto runner = Make(link, Order());
    parts_.on_step = [&](int64_t) {
      runner->Yield("pause asked for", /*until_left=*/false);
      return absl::OkStatus();
    };
    EXPECT_EQ(runner->Run().kind, Kind::kDone);
    parts_.on_step = nullptr;
    return runner->TakeState();
  };
  Assignment from_memory = Order();
  from_memory.id.epoch = 4;
  from_memory.start_step = 1;
  from_memory.from_memory = true;
  from_memory.state_epoch = 3;
  Assignment other_run = from_memory, other_spec = from_memory, other_step = from_memory,
             other_epoch = from_memory;
  other_run.id.run_id = "run-2";
  other_spec.spec_yaml = absl::StrReplaceAll(kEpochSpec, {{"steps: 12", "steps: 11"}});
  other_step.start_step = 2;
  other_epoch.state_epoch = 2;
  for (const Assignment& order : {Order(), other_run, other_spec, other_step, other_epoch}) {
    FakeCoordinatorLink link({}), next({});
    HeldTrainer held = hold(&link);
    ASSERT_NE(held.trainer, nullptr);
    EXPECT_EQ(parts_.trainers_alive(), 1);
    const auto runner = Make(&next, order, nullptr, std::move(held));
    EXPECT_EQ(parts_.trainers_alive(), 0);
    EXPECT_EQ(runner->Run().kind, order.from_memory ? Kind::kFailed : Kind::kDone);
  }
}

// An epoch that never came together has not made the state its own.
TEST_F(TwoRanksTest, AStateThatWasNotComparedIsStillThatOfItsEpoch) {
  FakeCoordinatorLink link({.plan_steps = 12}), next({.world_size = 2});
  link.EndWhenYielded(true);
  auto runner = Make(&link, Order());
  parts_.on_step = [&](int64_t) {
    runner->Yield("worker-b joins", /*until_left=*/false);
    return absl::OkStatus();
  };
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  parts_.connect = [](const std::string&, int, int) -> absl::StatusOr<std::unique_ptr<Collective>> {
    return absl::UnavailableError("worker-b died");
  };
  runner = Make(&next, OrderOf(0, 4, 1), nullptr, runner->TakeState());
  EXPECT_EQ(runner->Run().kind, Kind::kFailed);
  const HeldTrainer held = runner->TakeState();
  ASSERT_NE(held.trainer, nullptr);
  EXPECT_EQ(held.id, (EpochId{"run-1", 3}));
}

TEST_F(EpochRunnerTest, AStateIsHeldOnlyWhenItIsWhole) {
  parts_.on_update = [](int64_t step) {
    return step == 3 ? absl::UnavailableError("the device is gone") : absl::OkStatus();
  };
  FakeCoordinatorLink link({});
  auto runner = Make(&link, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kFailed);
  EXPECT_EQ(runner->TakeState().trainer, nullptr);
  // Before the exchange of the step all that was computed are gradients.
  parts_.on_update = nullptr;
  parts_.on_step = [](int64_t step) {
    return step == 3 ? absl::UnavailableError("connection closed by peer") : absl::OkStatus();
  };
  FakeCoordinatorLink again({});
  runner = Make(&again, Order());
  EXPECT_EQ(runner->Run().kind, Kind::kFailed);
  ASSERT_NE(runner->TakeState().trainer, nullptr);
}

TEST_F(EpochRunnerTest, SaysHowLongItComputesForASequence) {
  parts_.seconds_per_sequence = 0.25;
  FakeCoordinatorLink link({});
  auto runner = Make(&link, Order());
  EXPECT_EQ(runner->status().seconds_per_sequence, 0);
  EXPECT_EQ(runner->Run().kind, Kind::kDone);
  EXPECT_DOUBLE_EQ(runner->status().seconds_per_sequence, 0.25);
}

}  // namespace
}  // namespace tritter
