#include "worker/epoch_runner.h"

#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/testing/fault_env.h"
#include "common/testing/status_matchers.h"
#include "model/folder_checkpoint_store.h"
#include "worker/testing/epoch_runner_fixture.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using Kind = EpochOutcome::Kind;

TEST_F(EpochRunnerTest, AveragesOfOneStepAreTheRawWeightsAndEvaluatedOnce) {
  FakeCoordinatorLink link({.evaluate_at = {12}});
  Assignment order = Order();
  order.spec_yaml = absl::StrReplaceAll(order.spec_yaml, {{"ema_window: 2", "ema_window: 1"}});
  EXPECT_EQ(Make(&link, order)->Run().kind, Kind::kDone);
  ASSERT_EQ(link.evaluations().size(), 1u);
  EXPECT_TRUE(link.evaluations()[0].averaged);
}

TEST_F(EpochRunnerTest, ExecutesAllPlansReportsAndLeaves) {
  FakeCoordinatorLink link({.checkpoints = {{8, "3-a"}}, .evaluate_at = {6, 12}});
  auto runner = Make(&link, Order());
  const EpochOutcome outcome = runner->Run();
  EXPECT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  EXPECT_EQ(outcome.steps_done, 12);
  EXPECT_EQ(parts_.steps_executed(), 12);

  const auto steps = link.steps();
  ASSERT_EQ(steps.size(), 12u);
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(steps[i].step, i + 1);
    EXPECT_EQ(steps[i].tokens, 4 * 8);
    EXPECT_EQ(steps[i].grad_norm, 4);  // the fake's: the weight sum of the global batch
  }
  EXPECT_EQ(steps[0].learning_rate, 0.5);  // warm-up of two steps to 1.0
  EXPECT_EQ(steps[1].learning_rate, 1.0);
  EXPECT_LT(steps[11].learning_rate, 1.0);

  ASSERT_EQ(link.evaluations().size(), 4u);  // averaged and raw
  EXPECT_TRUE(link.evaluations()[0].averaged);
  EXPECT_FALSE(link.evaluations()[1].averaged);
  EXPECT_EQ(link.evaluations()[1].step, 6);
  EXPECT_TRUE(env_.Exists("/runs/run-1/samples/step-00000006.json"));
  EXPECT_TRUE(env_.Exists("/runs/run-1/samples/step-00000012.json"));
  EXPECT_THAT(link.log_lines(), testing::Contains(HasSubstr("sampled step=12")));
  EXPECT_EQ(link.evaluations()[0].step, 6);
  EXPECT_EQ(link.evaluations()[0].tokens, 4 * 8);
  EXPECT_EQ(link.evaluations()[0].loss, 0.5);
  EXPECT_DOUBLE_EQ(link.evaluations()[0].bits_per_byte, 16 / (std::log(2.0) * 64));

  ASSERT_EQ(link.commits().size(), 2u);  // waiting, then committed
  EXPECT_EQ(link.commits()[1].order.step, 8);
  EXPECT_TRUE(
      env_.Exists("/runs/run-1/checkpoints/step-00000008.tmp-3-a/share-0-of-1.safetensors"));
  EXPECT_EQ(runner->status().step, 12);
  EXPECT_THAT(link.log_lines(), testing::Contains(HasSubstr("training_started")));
  EXPECT_THAT(link.log_lines(),
              testing::Contains(HasSubstr("parameter_group group=embedding optimizer=adamw "
                                          "weight_decay=0 rate_factor=1 tensors=1")));
}

TEST_F(EpochRunnerTest, StateDependsOnTheStepsAndNotOnThePlansTheyCameIn) {
  const uint64_t want = UndisturbedState();
  for (const int64_t plan_steps : {1, 5, 12}) {
    FakeCoordinatorLink link({.plan_steps = plan_steps});
    EXPECT_EQ(Make(&link, Order())->Run().kind, Kind::kDone);
    EXPECT_EQ(parts_.state(), want) << plan_steps;
  }
}

// With sync outer nobody knows the group's loss before a round ends.
TEST_F(EpochRunnerTest, StepsOfARoundAreReportedWhenItHasEnded) {
  FakeCoordinatorLink link({.plan_steps = 5});
  Assignment order = Order();
  order.spec_yaml = absl::StrReplaceAll(
      kEpochSpec, {{"ema_window: 2", "ema_window: 2, sync: outer, outer: {steps: 5}"}});
  auto runner = Make(&link, order);
  parts_.on_step = [&](int64_t step) {
    if (step % 5 == 0 && step > 0) link.AwaitReportedStep(step);
    if (step % 5 == 4) EXPECT_LE(link.steps().size(), static_cast<size_t>(step / 5 * 5));
    return absl::OkStatus();
  };
  const EpochOutcome outcome = runner->Run();
  EXPECT_EQ(outcome.kind, EpochOutcome::Kind::kDone) << outcome.status;
  const std::vector<StepReport> steps = link.steps();
  ASSERT_EQ(steps.size(), 12u) << "the last round is shorter";
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].step, static_cast<int64_t>(i + 1));
    EXPECT_DOUBLE_EQ(steps[i].loss, 1.0 / static_cast<double>(i + 1)) << "the group's";
  }
  EXPECT_EQ(runner->TakeState().trainer, nullptr);
}

TEST_F(EpochRunnerTest, FinishesItsPlanWithoutTheCoordinatorAndGoesOnWhenItIsBack) {
  const uint64_t want = UndisturbedState();
  FakeCoordinatorLink link({});
  link.OnNextPlan([&](const PlanQuestion& question) {
    if (question.from_step == 4 && parts_.steps_executed() <= 4 && link.calls_while_away() == 0)
      link.GoAway();
  });
  auto runner = Make(&link, Order());
  std::thread back([&] {
    while (parts_.steps_executed() < 4) std::this_thread::yield();
    link.AwaitRefusals(5);
    EXPECT_EQ(parts_.steps_executed(), 4);  // the plan in hand is done, nothing beyond it
    link.Return();
  });
  const EpochOutcome outcome = runner->Run();
  back.join();
  EXPECT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  EXPECT_EQ(parts_.state(), want);
  EXPECT_EQ(link.steps().size(), 12u);  // every step once, whatever had to be sent again
  EXPECT_THAT(link.log_lines(), testing::Contains(HasSubstr("the coordinator is away")));
}

TEST_F(EpochRunnerTest, WaitsAsLongAsTheCoordinatorSaysSo) {
  FakeCoordinatorLink link({});
  link.MakeWait(3);
  EXPECT_EQ(Make(&link, Order())->Run().kind, Kind::kDone);
  EXPECT_THAT(link.log_lines(), testing::Contains(HasSubstr("a worker is still missing")));
}

TEST_F(EpochRunnerTest, LeavesAnEpochThatIsStale) {
  FakeCoordinatorLink link({});
  parts_.on_step = [&](int64_t step) {
    if (step == 4) link.CloseEpoch();
    return absl::OkStatus();
  };
  const EpochOutcome outcome = Make(&link, Order())->Run();
  EXPECT_EQ(outcome.kind, Kind::kEnded);
  EXPECT_TRUE(IsStaleEpoch(outcome.status)) << outcome.status;
  EXPECT_TRUE(link.failure().empty());
}

TEST_F(EpochRunnerTest, CancelEndsItInMidPlan) {
  FakeCoordinatorLink link({});
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 5) runner->Cancel("worker-b was lost");
    return absl::OkStatus();
  };
  runner = Make(&link, Order());
  const EpochOutcome outcome = runner->Run();
  EXPECT_EQ(outcome.kind, Kind::kEnded);
  EXPECT_THAT(outcome.status,
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("worker-b was lost")));
  EXPECT_EQ(outcome.steps_done, 5);
  EXPECT_TRUE(link.failure().empty());
}

TEST_F(EpochRunnerTest, WhatAnEndedEpochHasNotReportedYetIsDelivered) {
  FakeCoordinatorLink link({});
  std::unique_ptr<EpochRunner> runner;
  parts_.on_step = [&](int64_t step) {
    if (step == 5) runner->Cancel("worker-b was lost");
    return absl::OkStatus();
  };
  runner = std::make_unique<EpochRunner>(EpochRunner::Options{.parts = &parts_,
                                                              .link = &link,
                                                              .env = &env_,
                                                              .clock = Clock::Real(),
                                                              .assignment = Order(),
                                                              .report_interval = absl::Hours(1),
                                                              .ended_flush_limit = absl::Hours(1)});
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  EXPECT_EQ(link.steps().size(), static_cast<size_t>(parts_.steps_executed()));
  EXPECT_GE(parts_.steps_executed(), 5);
}

TEST_F(EpochRunnerTest, CancelEndsTheWaitForACoordinatorThatIsAway) {
  FakeCoordinatorLink link({});
  link.GoAway();
  auto runner = Make(&link, Order());
  std::thread canceller([&] {
    link.AwaitRefusals(3);
    runner->Cancel("shutting down");
  });
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  canceller.join();
}

TEST_F(EpochRunnerTest, CancelEndsTheWaitForTheRendezvousAndForTheOthers) {
  FakeCoordinatorLink link({.world_size = 2});
  Assignment order = Order();
  order.world_size = 2;
  order.rank = 1;
  {
    auto runner = Make(&link, order);
    std::thread canceller([&] { runner->Cancel("rank 0 was lost"); });
    EXPECT_EQ(runner->Run().kind, Kind::kEnded);
    canceller.join();
  }
  struct Gate {
    Mutex mu;
    CondVar changed;
    bool reached GUARDED_BY(mu) = false;
    bool open GUARDED_BY(mu) = false;
  };
  auto gate = std::make_shared<Gate>();
  parts_.connect = [gate](const std::string& address, int,
                          int) -> absl::StatusOr<std::unique_ptr<Collective>> {
    EXPECT_EQ(address, "host:7");
    MutexLock lock(&gate->mu);
    gate->reached = true;
    gate->changed.NotifyAll();
    while (!gate->open) gate->changed.Wait(&gate->mu);
    return absl::DeadlineExceededError("nobody came");
  };
  auto runner = Make(&link, order);
  runner->SetRendezvous("host:7");
  runner->SetRendezvous("other:8");  // the first counts
  std::thread canceller([&] {
    {
      MutexLock lock(&gate->mu);
      while (!gate->reached) gate->changed.Wait(&gate->mu);
    }
    runner->Cancel("rank 0 was lost");
  });
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  canceller.join();
  MutexLock lock(&gate->mu);
  gate->open = true;  // the abandoned attempt ends by itself
  gate->changed.NotifyAll();
}

TEST_F(EpochRunnerTest, RankZeroPublishesWhereItListens) {
  FakeCoordinatorLink link({.world_size = 2});
  std::string published;
  link.OnRendezvous([&](const std::string& address) { published = address; });
  parts_.connect = [](const std::string&, int, int) -> absl::StatusOr<std::unique_ptr<Collective>> {
    return absl::UnavailableError("the other one died");
  };
  Assignment order = Order();
  order.world_size = 2;
  EXPECT_EQ(Make(&link, order)->Run().kind, Kind::kFailed);
  EXPECT_EQ(published, "fake:1");
  EXPECT_THAT(link.failure(), HasSubstr("joining the group"));
  EXPECT_FALSE(link.failure_is_permanent());
}

TEST_F(EpochRunnerTest, BrokenGroupIsReportedOnlyWhenTheCoordinatorDoesNotEndTheEpoch) {
  parts_.on_step = [](int64_t step) {
    return step == 3 ? absl::UnavailableError("connection closed by peer") : absl::OkStatus();
  };
  {
    FakeCoordinatorLink link({});
    Assignment order = Order();
    order.members = {"w0", "w1"};
    EXPECT_EQ(Make(&link, order)->Run().kind, Kind::kFailed);
    EXPECT_EQ(link.failure(), "w1 stopped answering in the gradient exchange of step 4");
    EXPECT_EQ(link.failure_detail(), "UNAVAILABLE: connection closed by peer");
    EXPECT_FALSE(link.failure_is_permanent());
  }
  FakeCoordinatorLink link({});
  auto runner =
      std::make_unique<EpochRunner>(EpochRunner::Options{.parts = &parts_,
                                                         .link = &link,
                                                         .env = &env_,
                                                         .clock = Clock::Real(),
                                                         .assignment = Order(),
                                                         .broken_group_grace = absl::Hours(1)});
  std::thread canceller([&] {
    while (runner->status().state != "waiting" || runner->status().step < 3)
      std::this_thread::yield();
    runner->Cancel("worker-b was lost");
  });
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  canceller.join();
  EXPECT_TRUE(link.failure().empty());
}

TEST_F(EpochRunnerTest, NonFiniteLossIsAPermanentFailureWithItsReason) {
  parts_.on_step = [](int64_t step) {
    return step == 7 ? absl::InternalError("gradient of head.weight is not finite")
                     : absl::OkStatus();
  };
  FakeCoordinatorLink link({});
  const EpochOutcome outcome = Make(&link, Order())->Run();
  EXPECT_EQ(outcome.kind, Kind::kFailed);
  EXPECT_THAT(link.failure(),
              HasSubstr("training at step 7: gradient of head.weight is not finite"));
  EXPECT_TRUE(link.failure_is_permanent());
  EXPECT_EQ(link.steps().size(), 7u);  // what was done before is reported all the same
}

// As written by a coordinator of a newer version.
TEST_F(EpochRunnerTest, AConfigurationThatOneOfAnotherVersionWroteIsNoFaultOfTheRun) {
  FakeCoordinatorLink link({});
  Assignment order = Order();
  order.spec_yaml += "sorcery: {level: 9}\n";
  EXPECT_EQ(Make(&link, order)->Run().kind, Kind::kFailed);
  EXPECT_THAT(link.failure(), HasSubstr("sorcery"));
  EXPECT_TRUE(link.spec_unreadable());
  EXPECT_FALSE(link.failure_is_permanent());
}

TEST_F(EpochRunnerTest, TheNextBatchIsReadWhileAStepComputes) {
  Mutex mu;
  CondVar changed;
  int64_t newest = -1;  // first slot of the newest read
  parts_.on_read = [&](int64_t first_slot) {
    MutexLock lock(&mu);
    newest = first_slot;
    changed.NotifyAll();
    return absl::OkStatus();
  };
  parts_.on_step = [&](int64_t step) {
    if (step + 1 == 12) return absl::OkStatus();
    MutexLock lock(&mu);
    while (newest < (step + 1) * 4) changed.Wait(&mu);
    return absl::OkStatus();
  };
  FakeCoordinatorLink link({.evaluate_at = {6}});
  EXPECT_EQ(Make(&link, Order())->Run().kind, Kind::kDone);
  MutexLock lock(&mu);
  EXPECT_EQ(newest, 11 * 4) << "nothing is read beyond the run";
}

TEST_F(EpochRunnerTest, DamagedDataFailTheStepThatNeedsThem) {
  parts_.on_read = [](int64_t first_slot) {
    return first_slot == 7 * 4 ? absl::DataLossError("/shards/text/train-0.shard: offset 128")
                               : absl::OkStatus();
  };
  FakeCoordinatorLink link({});
  EXPECT_EQ(Make(&link, Order())->Run().kind, Kind::kFailed);
  EXPECT_THAT(link.failure(), HasSubstr("training at step 7: /shards/text/train-0"));
  EXPECT_TRUE(link.failure_is_permanent());
  EXPECT_EQ(link.steps().size(), 7u);
}

TEST_F(EpochRunnerTest, ABatchThatIsReadAheadButNotNeededFailsNothing) {
  parts_.on_read = [](int64_t first_slot) {
    return first_slot == 8 * 4 ? absl::DataLossError("damaged") : absl::OkStatus();
  };
  FakeCoordinatorLink link({.checkpoints = {{8, "3-a"}}, .pause_at = 8});
  const EpochOutcome outcome = Make(&link, Order())->Run();
  EXPECT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  EXPECT_EQ(outcome.steps_done, 8);
}

TEST_F(EpochRunnerTest, ThePartsOfAStepAddUpToIt) {
  FakeCoordinatorLink link({.evaluate_at = {3}});
  EXPECT_EQ(Make(&link, Order())->Run().kind, Kind::kDone);
  for (const StepReport& step : link.steps()) {
    EXPECT_GE(step.data_seconds, 0);
    EXPECT_GT(step.other_seconds(), 0);
    EXPECT_DOUBLE_EQ(step.data_seconds + step.other_seconds(), step.step_seconds);
  }
}

TEST_F(EpochRunnerTest, UnknownPhaseIsRefused) {
  FakeCoordinatorLink link({.phase = TrainingPhase::kPredict});
  EXPECT_EQ(Make(&link, Order())->Run().kind, Kind::kFailed);
  EXPECT_THAT(link.failure(), HasSubstr("of phase predict"));
  EXPECT_EQ(parts_.steps_executed(), 0);
}

TEST_F(EpochRunnerTest, MissingDataIsAPermanentFailure) {
  parts_.open_data_status = absl::NotFoundError("/shards/text/manifest.json: no such file");
  FakeCoordinatorLink link({});
  EXPECT_EQ(Make(&link, Order())->Run().kind, Kind::kFailed);
  EXPECT_THAT(link.failure(), HasSubstr("/shards/text/manifest.json"));
  EXPECT_TRUE(link.failure_is_permanent());
}

TEST_F(EpochRunnerTest, FullDiskHoldsUpTheNextCheckpointUntilThereIsRoomAndLosesNothing) {
  const uint64_t want = UndisturbedState();
  FakeCoordinatorLink link({.checkpoints = {{4, "3-a"}, {8, "3-a"}, {12, "3-a"}}});
  FaultEnv full(&env_);
  full.FailAt(2, absl::ResourceExhaustedError("no space left on device"));
  auto runner = Make(&link, Order(), &full);
  std::thread person([&] {
    // Training has gone on to the next checkpoint and waits there.
    while (!full.tripped() || runner->status().step < 8 ||
           runner->status().state != "checkpointing") {
      std::this_thread::yield();
    }
    link.AwaitReportedStep(8);
    EXPECT_EQ(parts_.steps_executed(), 8);
    EXPECT_TRUE(link.commits().empty());
    full.Heal();
  });
  const EpochOutcome outcome = runner->Run();
  person.join();
  EXPECT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  EXPECT_EQ(parts_.state(), want);
  EXPECT_EQ(parts_.steps_executed(), 12);
  ASSERT_EQ(link.commits().size(), 6u);
  for (const int64_t step : {4, 8, 12}) {
    EXPECT_OK(CheckpointsOfRun(&env_, "/runs/run-1")
                  ->FileBytes({step, "3-a"}, FakeShareName(0, 1))
                  .status());
  }
  EXPECT_THAT(link.log_lines(),
              testing::Contains(testing::AllOf(HasSubstr("checkpoint_waits_for_disk step=4"),
                                               HasSubstr("no space left on device"),
                                               HasSubstr("free space on /runs/run-1/checkpoints")))
                  .Times(1));  // once a minute, however often it is tried
}

TEST_F(EpochRunnerTest, CancelEndsTheWaitForRoomOnTheDisk) {
  FakeCoordinatorLink link({.checkpoints = {{4, "3-a"}, {8, "3-a"}}});
  FaultEnv full(&env_);
  full.FailAt(1, absl::ResourceExhaustedError("no space left on device"));
  auto runner = Make(&link, Order(), &full);
  std::thread person([&] {
    while (runner->status().step < 8 || runner->status().state != "checkpointing")
      std::this_thread::yield();
    runner->Cancel("the run is cancelled");
  });
  EXPECT_EQ(runner->Run().kind, Kind::kEnded);
  person.join();
  EXPECT_TRUE(link.failure().empty());
  EXPECT_TRUE(link.commits().empty());
}

TEST_F(EpochRunnerTest, FailedCheckpointEndsTheWaitForAPlanAfterTheLastStepAndAtAPause) {
  for (const int64_t step : {12, 8}) {
    FakeCoordinatorLink link({.checkpoints = {{step, "3-a"}}, .pause_at = 8});
    FaultEnv faulty(&env_);
    faulty.FailAt(1, absl::InternalError("input/output error"));
    const EpochOutcome outcome = Make(&link, Order(), &faulty)->Run();
    EXPECT_EQ(outcome.kind, Kind::kFailed);
    EXPECT_EQ(outcome.steps_done, step);
    EXPECT_THAT(link.failure(), testing::AllOf(HasSubstr("writing a checkpoint"),
                                               HasSubstr(absl::StrCat("checkpoint of step ", step)),
                                               HasSubstr("input/output error")));
    EXPECT_FALSE(link.failure_is_permanent());
  }
}

TEST_F(EpochRunnerTest, NoShareIsReportedBeforeEveryByteIsDurable) {
  // Whichever change of the file system fails, the coordinator does not hear of the share.
  for (int64_t change = 1;; ++change) {
    MemoryEnv memory;
    MakeRun(&memory);
    FaultEnv faulty(&memory);
    faulty.FailAt(change, absl::InternalError("input/output error"));
    FakeCoordinatorLink link({.checkpoints = {{4, "3-a"}}});
    const EpochOutcome outcome = Make(&link, Order(), &faulty)->Run();
    if (!faulty.tripped()) {
      EXPECT_EQ(outcome.kind, Kind::kDone);
      EXPECT_GE(change, 5);  // folder, file, bytes, two syncs
      break;
    }
    EXPECT_TRUE(link.commits().empty()) << faulty.last();
    EXPECT_EQ(outcome.kind, Kind::kFailed) << faulty.last();
  }
}

// A committed step is not trained again: what was not reported before would be lost with a kill.
TEST_F(EpochRunnerTest, AStepIsCommittedOnlyWhenItsLossAndEvaluationHaveBeenReported) {
  FakeCoordinatorLink link({.total_steps = 12,
                            .plan_steps = 12,
                            .checkpoints = {{4, "3-a"}, {12, "3-b"}},
                            .evaluate_at = {4, 12}});
  EpochRunner runner({.parts = &parts_,
                      .link = &link,
                      .env = &env_,
                      .clock = Clock::Real(),
                      .assignment = Order(),
                      .request_prefix = "w",
                      .report_interval = absl::Hours(1),  // nothing is sent by itself
                      .commit_poll = absl::Milliseconds(1)});
  const EpochOutcome outcome = runner.Run();
  ASSERT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  const auto commits = link.commits();
  ASSERT_EQ(commits.size(), 4u);  // each waiting, then committed
  for (const FakeCoordinatorLink::Commit& commit : commits) {
    EXPECT_GE(commit.last_step, commit.order.step);
    EXPECT_GE(commit.last_evaluation, commit.order.step);
  }
}

TEST_F(EpochRunnerTest, ResumesFromACommittedCheckpointToTheSameEnd) {
  const uint64_t want = UndisturbedState();
  FakeCoordinatorLink first({.total_steps = 12, .checkpoints = {{8, "3-a"}}});
  ASSERT_EQ(Make(&first, Order())->Run().kind, Kind::kDone);
  Assignment order = Order();
  order.id.epoch = 4;
  order.start_step = 8;
  order.manifest_sha256 = Commit(first.commits().back(), 8);

  FakeEpochParts fresh;
  FakeCoordinatorLink second({});
  EpochRunner runner({.parts = &fresh,
                      .link = &second,
                      .env = &env_,
                      .clock = Clock::Real(),
                      .assignment = order});
  const EpochOutcome outcome = runner.Run();
  EXPECT_EQ(outcome.kind, Kind::kDone) << outcome.status;
  EXPECT_EQ(fresh.steps_executed(), 4);
  EXPECT_EQ(fresh.state(), want);
  EXPECT_EQ(second.steps().front().step, 9);
}

TEST_F(EpochRunnerTest, ResumingWithOtherDataIsAPermanentFailure) {
  FakeCoordinatorLink first({.checkpoints = {{8, "3-a"}}});
  ASSERT_EQ(Make(&first, Order())->Run().kind, Kind::kDone);
  Assignment order = Order();
  order.start_step = 8;
  order.manifest_sha256 = Commit(first.commits().back(), 8);
  const int64_t before = parts_.steps_executed();
  parts_.data_hashes = {{"text", "bb"}};
  FakeCoordinatorLink second({});
  EXPECT_EQ(Make(&second, order)->Run().kind, Kind::kFailed);
  EXPECT_THAT(second.failure(), testing::AllOf(HasSubstr("source text"), HasSubstr("expected aa"),
                                               HasSubstr("actual bb")));
  EXPECT_TRUE(second.failure_is_permanent());
  EXPECT_EQ(parts_.steps_executed(), before);
  FakeCoordinatorLink anew({});  // from the first step on any data will do
  EXPECT_EQ(Make(&anew, Order())->Run().kind, Kind::kDone);
}

TEST_F(EpochRunnerTest, DamagedCheckpointIsRefusedWithItsReason) {
  FakeCoordinatorLink first({.checkpoints = {{8, "3-a"}}});
  ASSERT_EQ(Make(&first, Order())->Run().kind, Kind::kDone);
  Assignment order = Order();
  order.start_step = 8;
  order.manifest_sha256 = Commit(first.commits().back(), 8);
  const std::string folder = "/runs/run-1/checkpoints/step-00000008";
  const std::string share = JoinPath(folder, FakeShareName(0, 1));
  ASSERT_OK_AND_ASSIGN(std::string bytes, env_.ReadFile(share));
  ASSERT_OK_AND_ASSIGN(const std::string json, env_.ReadFile(JoinPath(folder, "manifest.json")));

  const auto refusal = [&] {
    FakeCoordinatorLink link({});
    const int64_t before = parts_.steps_executed();
    EXPECT_EQ(Make(&link, order)->Run().kind, Kind::kFailed);
    EXPECT_EQ(parts_.steps_executed(), before);
    EXPECT_FALSE(link.failure_is_permanent());
    return link.failure();
  };
  std::string flipped = bytes;
  flipped[0] ^= 1;
  ASSERT_OK(WriteFileAtomically(&env_, share, flipped));
  EXPECT_THAT(refusal(), testing::AllOf(HasSubstr("reading the checkpoint"),
                                        HasSubstr("share-0-of-1.safetensors")));
  ASSERT_OK(WriteFileAtomically(&env_, share, bytes));
  ASSERT_OK(WriteFileAtomically(&env_, JoinPath(folder, "manifest.json"), json + "\n"));
  EXPECT_THAT(refusal(),
              testing::AllOf(HasSubstr("manifest.json"), HasSubstr(order.manifest_sha256)));
  ASSERT_OK(env_.RemoveTree(folder));
  EXPECT_THAT(refusal(), HasSubstr("manifest.json: open: No such file"));
}

}  // namespace
}  // namespace tritter
