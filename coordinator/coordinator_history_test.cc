// What is kept of a run's life: epochs, failures, changes that happen once.
#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using Code = absl::StatusCode;

class HistoryTest : public CoordinatorFixture {
 protected:
  void SetUp() override { Start(); }
  v1::ListEpochsResponse Epochs(const std::string& run, int64_t limit = 0) {
    absl::StatusOr<v1::ListEpochsResponse> epochs = coordinator_->ListEpochs(run, limit);
    EXPECT_OK(epochs);
    return epochs.value_or(v1::ListEpochsResponse());
  }
};

TEST_F(HistoryTest, EveryEpochSaysWhoWasInItFromWhereToWhereAndWhyItEnded) {
  const std::string id = Submit(RunYaml("first", 60, 1));
  FakeAgent* a = AddWorker("worker-a");
  RoundsUntil([&] { return Get(id).step() >= 25; });
  const int64_t reached = Get(id).step();
  ASSERT_THAT(Epochs(id).epochs(), SizeIs(1));
  EXPECT_TRUE(Epochs(id).epochs(0).live());
  EXPECT_EQ(Epochs(id).epochs(0).end_step(), reached);
  Kill(a);
  AddWorker("worker-b");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  Start();  // all of it is stored
  const v1::ListEpochsResponse epochs = Epochs("first");
  ASSERT_THAT(epochs.epochs(), SizeIs(2));
  const v1::Epoch& lost = epochs.epochs(0);
  EXPECT_EQ(lost.epoch(), 1u);
  EXPECT_EQ(lost.start_step(), 0);
  EXPECT_EQ(lost.end_step(), reached);
  ASSERT_THAT(lost.members(), SizeIs(1));
  EXPECT_EQ(lost.members(0).worker(), "worker-a");
  EXPECT_THAT(lost.end_reason(), HasSubstr("worker-a lost"));
  EXPECT_GT(lost.ended_ms(), lost.started_ms());
  EXPECT_EQ(lost.failure().worker(), "worker-a");
  const v1::Epoch& last = epochs.epochs(1);
  EXPECT_FALSE(last.live());
  EXPECT_EQ(last.start_step(), 20);
  EXPECT_EQ(last.end_step(), 60);
  EXPECT_EQ(last.members(0).worker(), "worker-b");
  EXPECT_FALSE(last.has_failure());
  EXPECT_THAT(Epochs(id, 1).epochs(), SizeIs(1));
  EXPECT_EQ(Epochs(id, 1).epochs(0).epoch(), 2u) << "the newest";
}

TEST_F(HistoryTest, TheFirstFailingWorkerIsShownWithItsLastLinesAlsoAfterARestart) {
  const std::string id = Submit(RunYaml("first", 60, 2));
  AddWorker("worker-a");
  FakeAgent* b = AddWorker("worker-b");
  RoundsUntil([&] { return Get(id).step() >= 30; });
  EXPECT_FALSE(Get(id).has_last_failure());
  v1::ReportRequest begun;  // of many more plans than lines are kept
  *begun.mutable_worker() = b->Identity();
  begun.set_run_id(id);
  begun.set_epoch(b->epoch());
  for (int i = 0; i < 30; ++i) {
    begun.add_log_lines()->set_line("plan_started first_step=1");
    begun.mutable_log_lines(i)->set_worker("worker-b");
  }
  ASSERT_OK(coordinator_->Report(begun));
  ASSERT_OK(b->Fail("loss is not finite at step 31: layers.2.attn.q", /*permanent=*/true));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_FAILED; });
  for (const bool restarted : {false, true}) {
    if (restarted) Start();
    ASSERT_TRUE(Get(id).has_last_failure());
    const v1::Run run = Get(id);
    const v1::Failure& failure = run.last_failure();
    EXPECT_EQ(failure.epoch(), 1u);
    EXPECT_EQ(failure.worker(), "worker-b");
    EXPECT_EQ(failure.rank(), 1);
    EXPECT_TRUE(failure.permanent());
    EXPECT_THAT(failure.cause(), AllOf(HasSubstr("worker-b (rank 1) failed"),
                                       HasSubstr("loss is not finite at step 31")));
    ASSERT_THAT(failure.last_lines(), SizeIs(20));
    for (const v1::LogLine& line : failure.last_lines()) {
      EXPECT_EQ(line.worker(), "worker-b");
      EXPECT_THAT(line.line(), testing::StartsWith("step ")) << "not how plans began";
    }
    EXPECT_EQ(failure.last_lines(19).line(), absl::StrCat("step ", b->step()));
  }
}

TEST_F(HistoryTest, WhatTheLastEpochWasIsKnownAfterARestart) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 10; });
  a->mute = true;  // rank 0; what it has to report comes late
  const int64_t told = Get(id).step();
  ASSERT_OK(coordinator_->Pause(id));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; });
  const int64_t end = Get(id).committed_step();
  ASSERT_GT(end, told);
  Start();
  ASSERT_OK(a->Connect());
  v1::ReportRequest late;
  *late.mutable_worker() = a->Identity();
  late.set_run_id(id);
  late.set_epoch(1);
  late.add_steps()->set_step(static_cast<int32_t>(end));
  ASSERT_OK(coordinator_->Report(late)) << "the epoch ended as it should: its last words count";
  v1::ListMetricsRequest request;
  request.set_run(id);
  request.set_first_step(end);
  EXPECT_THAT(coordinator_->ListMetrics(request)->steps(), SizeIs(1));
  // And why one that was lost ended.
  ASSERT_OK(b->Connect());
  ASSERT_OK(coordinator_->Resume(id));
  RoundsUntil([&] { return Get(id).epoch() == 2u && Get(id).step() > end; });
  Kill(b);
  Rounds(20);
  Start();
  Rounds(1);
  EXPECT_THAT(Get(id).reason(), HasSubstr("the last epoch ended: worker w-1 lost: its process (pid "
                                          "100 on host) died or was cut off"));
}

TEST_F(HistoryTest, LogLinesOfOneWorkerCanBeAskedFor) {
  const std::string id = Submit(RunYaml("first", 20, 2));
  AddWorker("worker-a");
  AddWorker("worker-b");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  int64_t sequence = 0;
  bool ended = false;
  ASSERT_OK_AND_ASSIGN(const auto lines, coordinator_->Logs(id, 0, &sequence, &ended, "worker-b"));
  ASSERT_THAT(lines, SizeIs(20));
  for (const v1::LogLine& line : lines) EXPECT_EQ(line.worker(), "worker-b");
}

TEST_F(HistoryTest, TheRunSaysHowOftenItIsTriedWithoutProgress) {
  const std::string id = Submit(RunYaml("first", 1000, 1,
                                        "checkpoint: {every: 500}\nretry: {budget: 2, delay: 60, "
                                        "longest_delay: 60}\n"));
  FakeAgent* w = AddWorker("w");
  for (const uint64_t epoch : {1, 2, 3}) {  // two come less far than the first
    RoundsUntil(
        [&] { return Get(id).epoch() == epoch && Get(id).step() >= (epoch == 1 ? 40 : 1); });
    ASSERT_OK(w->Fail("bad socket", /*permanent=*/false));
    RoundsUntil([&] { return Get(id).members_size() == 0; });
  }
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("gave up after 2 epochs without progress"));
}

TEST_F(HistoryTest, ALateRepeatOfARequestChangesNothing) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  EXPECT_EQ(coordinator_->Pause(id, "q1")->state(), v1::RUN_STATE_PAUSING);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; });
  EXPECT_EQ(coordinator_->Resume(id, "q2")->state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(coordinator_->Pause(id, "q1")->state(), v1::RUN_STATE_QUEUED) << "the same request";
  Start();
  EXPECT_EQ(coordinator_->Pause("first", "q1")->state(), v1::RUN_STATE_QUEUED);
  EXPECT_EQ(coordinator_->Pause(id, "q3")->state(), v1::RUN_STATE_PAUSED) << "another one";
}

TEST_F(HistoryTest, ARequestThatFoundTheStateAsItWantedIsKnownToo) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  ASSERT_OK(coordinator_->Pause(id));
  EXPECT_EQ(coordinator_->Pause(id, "q1")->state(), v1::RUN_STATE_PAUSED);
  ASSERT_OK(coordinator_->Resume(id));
  EXPECT_EQ(coordinator_->Pause(id, "q1")->state(), v1::RUN_STATE_QUEUED);
}

TEST_F(HistoryTest, ARequestThatFailedMayBeTriedAgainAndAnIdIsForOneChange) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  store_.FailApply(0, StoreFault::kRefuse);
  EXPECT_THAT(coordinator_->Pause(id, "q1"), StatusIs(Code::kResourceExhausted));
  EXPECT_EQ(coordinator_->Pause(id, "q1")->state(), v1::RUN_STATE_PAUSED);
  const absl::Status other = coordinator_->Cancel(id, false, "q1").status();
  EXPECT_THAT(
      other, StatusIs(Code::kAlreadyExists, HasSubstr(absl::StrCat("was used to pause run ", id))));
  EXPECT_EQ(DetailOf(other)->reason(), v1::ErrorDetail::IDEMPOTENCY_CONFLICT);
  EXPECT_THAT(coordinator_->Pause(id, std::string(129, 'x')),
              StatusIs(Code::kInvalidArgument, HasSubstr("129 characters")));
}

TEST_F(HistoryTest, ALostAnswerOfTheStoreIsNoSecondChange) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  store_.FailApply(0, StoreFault::kLoseTouch);
  EXPECT_FALSE(coordinator_->Pause(id, "q1").ok());
  ASSERT_OK(coordinator_->Pause(id, "q1"));
  Start();
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_PAUSED);
}

TEST_F(HistoryTest, AWriteWhoseAnswerWasLostIsFoundInTheStore) {
  const std::string id = Submit(RunYaml("first", 100, 1));
  store_.FailApply(0, StoreFault::kLoseAnswer);
  EXPECT_EQ(coordinator_->Pause(id, "q1")->state(), v1::RUN_STATE_PAUSED);
  store_.FailApply(0, StoreFault::kLoseAnswer);
  EXPECT_EQ(coordinator_->Resume(id)->state(), v1::RUN_STATE_QUEUED);
  EXPECT_THAT(EventKinds(id), testing::ElementsAre("run_submitted", "run_paused", "run_resumed"));
}

TEST_F(HistoryTest, AKillEndsARunWithoutACheckpoint) {
  const std::string id = Submit(RunYaml("first", 1000, 1, "checkpoint: {every: 500}\n"));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  EXPECT_EQ(coordinator_->Cancel(id, true, "q1")->state(), v1::RUN_STATE_CANCELLED);
  EXPECT_THAT(Get(id).reason(), HasSubstr(" steps are lost"));
  Rounds(2);
  EXPECT_TRUE(w->idle());
  EXPECT_EQ(coordinator_->Cancel(id, true, "q1")->state(), v1::RUN_STATE_CANCELLED);
}

TEST_F(HistoryTest, WhoIsLostAtTheSameTimeIsNamedToo) {
  const std::string id = Submit(RunYaml("first", 1000, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  Kill(a);
  Kill(b);
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; });
  EXPECT_EQ(Get(id).last_failure().cause(),
            "workers w-0 and w-1 lost: w-0: its process (pid 100 on host) died or was cut off; "
            "w-1: its process (pid 100 on host) died or was cut off");
  EXPECT_THAT(Get(id).reason(), Not(HasSubstr("the last epoch ended"))) << "both are named already";
}

}  // namespace
}  // namespace tritter
