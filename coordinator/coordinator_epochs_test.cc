// Epochs: formed, lost, fenced, and living through restarts of the coordinator.
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/errors.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;
using Code = absl::StatusCode;

class EpochsTest : public CoordinatorFixture {
 protected:
  void SetUp() override { Start(); }
  // The curve has every step once.
  void ExpectWholeCurve(const std::string& id, int64_t steps) {
    v1::ListMetricsRequest request;
    request.set_run(id);
    ASSERT_OK_AND_ASSIGN(const auto metrics, coordinator_->ListMetrics(request));
    ASSERT_EQ(metrics.steps_size(), steps);
    for (int64_t i = 0; i < steps; ++i) EXPECT_EQ(metrics.steps(static_cast<int>(i)).step(), i + 1);
    EXPECT_EQ(metrics.next_step(), 0);
  }
};

TEST_F(EpochsTest, TwoWorkersTrainARunToItsEnd) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(a->rank(), 0);
  EXPECT_EQ(b->rank(), 1);
  EXPECT_THAT(a->trained(), SizeIs(100));
  EXPECT_THAT(b->trained(), SizeIs(100));
  EXPECT_EQ(Get(id).committed_step(), 100);
  EXPECT_EQ(Get(id).epoch(), 1u);
  ASSERT_OK_AND_ASSIGN(const auto checkpoints, coordinator_->ListCheckpoints(id));
  ASSERT_THAT(checkpoints.checkpoints(), SizeIs(2));  // keep: 2
  EXPECT_EQ(checkpoints.checkpoints(0).step(), 80);
  EXPECT_THAT(*env_.ListDir(Get(id).run_dir() + "/checkpoints"), SizeIs(2));
  ExpectWholeCurve(id, 100);
  EXPECT_THAT(Get(id).last_evaluation(), SizeIs(1));
}

TEST_F(EpochsTest, EveryRankGetsTheSamePlansAlsoWhenItAsksAgain) {
  Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return a->plans.size() >= 2 && b->plans.size() >= 2; });
  for (const auto& [first, plan] : b->plans) {
    EXPECT_EQ(plan.SerializeAsString(), a->plans.at(first).SerializeAsString());
  }
  v1::NextPlanRequest request;
  *request.mutable_worker() = a->Identity();
  request.set_run_id(a->run_id());
  request.set_epoch(a->epoch());
  request.set_from_step(0);
  EXPECT_EQ(coordinator_->NextPlan(request)->plan().SerializeAsString(),
            a->plans.at(0).SerializeAsString());
  request.set_from_step(3);
  EXPECT_THAT(coordinator_->NextPlan(request),
              StatusIs(Code::kInvalidArgument, HasSubstr("from_step is 3")));
  request.set_from_step(0);
  request.set_rank(1);
  EXPECT_THAT(coordinator_->NextPlan(request),
              StatusIs(Code::kInvalidArgument, HasSubstr("has rank 0")));
}

TEST_F(EpochsTest, ALostWorkerEndsTheEpochAndANewOneResumesFromTheCheckpoint) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).committed_step() == 40 && Get(id).step() >= 47; });
  Kill(b);
  RoundsUntil([&] { return a->idle(); }, 20);
  Rounds(1);
  EXPECT_THAT(Get(id).reason(), HasSubstr("; w-1 was lost "));
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_RUNNING);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  FakeAgent* again = AddWorker("w-1", 2);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).epoch(), 2u);
  ASSERT_THAT(again->assignments(), SizeIs(1));
  EXPECT_EQ(again->assignments()[0], std::make_pair(uint64_t{2}, int64_t{40}));
  ExpectWholeCurve(id, 100);
  EXPECT_GT(*memory_store_.SupersededSteps(id), 0);
  const auto kinds = EventKinds(id);
  EXPECT_THAT(kinds, Contains("epoch_lost"));
  v1::ListEventsRequest request;
  request.set_run(id);
  ASSERT_OK_AND_ASSIGN(const auto events, coordinator_->ListEvents(request));
  EXPECT_THAT(events.events(), Contains(testing::Truly([](const v1::Event& e) {
                return e.kind() == kEventWorkerLost &&
                       e.message() ==
                           "worker w-1 lost: its process (pid 100 on host) "
                           "died or was cut off";
              })));
}

TEST_F(EpochsTest, ProgressOfWorkThatIsRepeatedIsNoLongerShown) {
  const std::string id =
      Submit(RunYaml("run", 100, 1, "checkpoint: {every: 20}\nevaluation: {every: 5}\n"));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() == 37; });
  EXPECT_EQ(Get(id).last_metrics().step(), 37);
  EXPECT_EQ(Get(id).last_evaluation(0).step(), 35);
  Kill(w);
  Rounds(10);
  AddWorker("w", 2);
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
  EXPECT_EQ(Get(id).last_metrics().step(), 20);
  EXPECT_EQ(Get(id).last_evaluation(0).step(), 20);
}

TEST_F(EpochsTest, ARestartedCoordinatorGoesOnWithTheSameEpoch) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 33; });
  const std::string store_id = *memory_store_.StoreId();
  Stop();
  Start();
  EXPECT_EQ(Get(id).epoch(), 1u);
  EXPECT_THAT(Get(id).members(), SizeIs(2));
  clock_.Advance(absl::Seconds(4));  // within the grace
  coordinator_->Tick();
  ASSERT_OK(a->Connect());
  ASSERT_OK(b->Connect());
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).epoch(), 1u);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  for (FakeAgent* w : {a, b}) {
    EXPECT_THAT(w->assignments(), SizeIs(1));
    EXPECT_THAT(w->trained(), SizeIs(100));  // no step repeated
  }
  ExpectWholeCurve(id, 100);
}

TEST_F(EpochsTest, AnAssignmentLostWithTheCoordinatorIsSaidAgainAndBlamesNobody) {
  const std::string id = Submit(RunYaml("run", 40, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] {
    coordinator_->Tick();
    return Get(id).epoch() == 1u;
  });
  Stop();  // before the worker has taken its command
  Start();
  ASSERT_TRUE(w->idle());
  ASSERT_OK(w->Connect());
  v1::Heartbeat idle;
  *idle.mutable_worker() = w->Identity();
  ASSERT_OK(apis_[0]->Beat(idle));  // under way before the command arrives
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  EXPECT_EQ(Get(id).epoch(), 1u);
}

// It is no try in vain: the steps and checkpoints of it are stored.
TEST_F(EpochsTest, WhatAnEpochReachedBeforeTheCoordinatorRestartedIsProgress) {
  for (const int64_t reached : {37, 45}) {  // beyond all before; with a checkpoint
    const std::string id = Submit(RunYaml(absl::StrCat("run-", reached), 100, 1));
    const std::string name = absl::StrCat("w-", reached);
    FakeAgent* first = AddWorker(name);
    RoundsUntil([&] { return Get(id).step() >= 33; });
    Kill(first);
    FakeAgent* second = AddWorker(name, 2);
    RoundsUntil([&] { return Get(id).epoch() == 2u && Get(id).step() >= reached; });
    EXPECT_LT(Get(id).step(), reached + 2);
    Stop();
    Start();
    Silence(second);
    Rounds(105);
    EXPECT_EQ(Get(id).epochs_lost(), 2);
    ASSERT_OK_AND_ASSIGN(const std::vector<RunRecord> stored, store_.Runs());
    for (const RunRecord& run : stored) {
      if (run.run_id == id) EXPECT_EQ(run.failures, 0) << reached;
    }
    ASSERT_OK(coordinator_->Cancel(id, true));
  }
}

TEST_F(EpochsTest, AMemberThatDoesNotComeBackAfterARestartIsLostAfterTheGrace) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 33; });
  Stop();
  Start();
  ASSERT_OK(a->Connect());
  Silence(b);
  Rounds(95);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  Rounds(10);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_THAT(Get(id).reason(),
              HasSubstr("did not come back after the coordinator's restart, silent for 10 s"));
  AddWorker("w-1", 2);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  ExpectWholeCurve(id, 100);
}

TEST_F(EpochsTest, APermanentFailureFailsTheRunWithItsReason) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  ASSERT_OK(w->Fail("/data/text/shard-0: truncated at byte 17", true));
  Rounds(2);
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(Get(id).reason(), "worker w (rank 0) failed: /data/text/shard-0: truncated at byte 17");
  EXPECT_TRUE(w->idle());
}

TEST_F(EpochsTest, FailingWithoutProgressUsesUpTheBudget) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  for (int i = 0; i < 20 && Get(id).state() != v1::RUN_STATE_FAILED; ++i) {
    RoundsUntil([&] { return w->step() == 5 || Get(id).state() == v1::RUN_STATE_FAILED; });
    if (!w->idle()) w->Fail("loss is not finite", false).IgnoreError();
    RoundsUntil([&] { return w->idle() || Get(id).state() == v1::RUN_STATE_FAILED; });
  }
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(
      Get(id).reason(),
      HasSubstr("gave up after 5 epochs without progress; the last: worker w (rank 0) failed: "
                "loss is not finite"));
}

TEST_F(EpochsTest, ASurvivorsComplaintIsNotTakenForTheCause) {
  const std::string id = Submit(RunYaml("run", 1000, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  ASSERT_OK(
      a->Fail("collective: connection closed by peer", false));  // heard before the broken stream
  Kill(b);
  Rounds(10);
  ASSERT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_THAT(Get(id).reason(), HasSubstr("; w-1 was lost "));
  EXPECT_THAT(Get(id).reason(), Not(HasSubstr("collective")));  // it followed from that
  EXPECT_EQ(Get(id).last_failure().detail(),
            "worker w-0 (rank 0) failed: collective: connection closed by peer");
}

TEST_F(EpochsTest, AFailureInSeveralLinesIsOneSentenceAndItsDetail) {
  const std::string id = Submit(RunYaml("run", 1000, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  const std::string text = "step failed: no memory\nException raised from x.cpp:3\nframe #0: y";
  ASSERT_OK(w->Fail(text, false));
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; });
  EXPECT_EQ(Get(id).last_failure().cause(), "worker w (rank 0) failed: step failed: no memory");
  EXPECT_EQ(Get(id).last_failure().detail(), text);
  EXPECT_THAT(Get(id).reason(), Not(HasSubstr("frame")));
}

TEST_F(EpochsTest, WhileItTrainsTheReasonIsWhatItDoesNow) {
  const std::string id = Submit(RunYaml("run", 1000, 2, "checkpoint: {every: 20}\n"));
  AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  EXPECT_EQ(Get(id).reason(), absl::StrCat("step ", Get(id).step(),
                                           " of 1000, epoch 1 of w-0 and w-1, next checkpoint at "
                                           "step 20"));
  RoundsUntil([&] { return Get(id).committed_step() >= 40; });
  EXPECT_THAT(Get(id).reason(), HasSubstr("epoch 1 of w-0 and w-1, "));
  EXPECT_EQ(coordinator_->Stats().runs_by_state["running"], 1);
  Kill(b);
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; });
  Rounds(5);
  CoordinatorStats stats = coordinator_->Stats();
  EXPECT_EQ(stats.runs_by_state["waiting"], 1);
  EXPECT_EQ(stats.runs_by_state["running"], 0);
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_RUNNING);  // for programs nothing has changed
  EXPECT_EQ(Get(id).waiting_cause(), "workers_lost");
  // Its newest checkpoint grows old meanwhile.
  const double age = stats.training[id].checkpoint_age_seconds;
  clock_.Advance(absl::Seconds(100));
  EXPECT_NEAR(coordinator_->Stats().training[id].checkpoint_age_seconds, age + 100, 1e-6);
  ASSERT_OK(coordinator_->Cancel(id, /*now=*/true));
  EXPECT_FALSE(coordinator_->Stats().training.contains(id));
  EXPECT_THAT(Get(id).reason(),
              StartsWith(absl::StrCat("killed at step ", Get(id).committed_step())));
}

TEST_F(EpochsTest, ADrainingWorkerLeavesWithACheckpointAndNoLostStep) {
  const std::string id = Submit(RunYaml("run", 200, 1, "checkpoint: {every: 1000}\n"));
  FakeAgent* w = AddWorker("w-0");
  RoundsUntil([&] { return Get(id).step() >= 12; });
  w->draining = true;
  RoundsUntil([&] { return w->idle(); });
  Rounds(2);
  const int64_t at = Get(id).committed_step();
  EXPECT_GE(at, 12);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  EXPECT_THAT(Get(id).reason(), HasSubstr("w-0 is draining"));
  FakeAgent* other = AddWorker("w-1");
  RoundsUntil([&] { return !other->assignments().empty(); });
  EXPECT_EQ(other->assignments()[0].second, at);
}

TEST_F(EpochsTest, ADamagedCheckpointIsSkippedAndNamed) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 40; });
  ASSERT_OK(WriteFileAtomically(
      &env_, Get(id).run_dir() + "/checkpoints/step-00000040/share-0-of-1.safetensors", "x"));
  ASSERT_OK(w->Fail("out of memory", false));
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
  EXPECT_THAT(Get(id).reason(),
              HasSubstr("trains from the checkpoint of step 20 (skipped step 40: "));
  EXPECT_EQ(Get(id).committed_step(), 20);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  ExpectWholeCurve(id, 100);
}

// The coordinator and a worker end together: who is left hears of a broken connection first.
TEST_F(EpochsTest, AfterARestartTheMemberThatIsMissedIsBlamedAndNotWhoSaysSo) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 5; });
  b->Kill();
  Start();
  ASSERT_OK(a->Connect());
  ASSERT_OK(a->Fail("all-reduce: connection reset by peer", false));
  for (int i = 0; i < 40 && Get(id).epochs_lost() == 0; ++i) {
    clock_.Advance(absl::Milliseconds(200));
    a->Act();
    coordinator_->Tick();
  }
  ASSERT_OK_AND_ASSIGN(const v1::ListEpochsResponse epochs, coordinator_->ListEpochs(id, 10));
  ASSERT_GT(epochs.epochs_size(), 0);
  EXPECT_THAT(
      epochs.epochs(0).end_reason(),
      HasSubstr("w-1 lost: did not come back after the coordinator's restart, silent for 5 s"));
}

// Its checkpoints may still be tidied when the next epoch, formed from memory, writes already.
TEST_F(EpochsTest, TidyingSparesWhatTheNextEpochWrites) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  const std::string folder = Get(id).run_dir() + "/checkpoints/step-00000060.tmp-";
  for (const char* attempt : {"e1", "e2"}) {
    ASSERT_OK(env_.CreateDirs(folder + attempt));
    ASSERT_OK(WriteFileAtomically(&env_, absl::StrCat(folder, attempt, "/share"), "x"));
  }
  ASSERT_OK(w->Fail("out of memory", false));
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
  EXPECT_FALSE(env_.Exists(folder + "e1/share"));
  EXPECT_TRUE(env_.Exists(folder + "e2/share"));
}

TEST_F(EpochsTest, ARunWhoseFolderIsNotMountedWaitsAndLosesNothing) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 40; });
  const std::string dir = Get(id).run_dir() + "/checkpoints";
  ASSERT_OK(env_.Rename(dir, "/data-dir/elsewhere"));
  ASSERT_OK(w->Fail("input/output error", false));
  RoundsUntil([&] { return absl::StrContains(Get(id).reason(), "is not there"); });
  Rounds(100);
  EXPECT_THAT(Get(id).reason(), HasSubstr("the checkpoint of step 40 cannot be read now"));
  EXPECT_EQ(Get(id).committed_step(), 40);
  EXPECT_EQ(Get(id).epoch(), 1u);
  ASSERT_OK(env_.Rename("/data-dir/elsewhere", dir));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(w->assignments().back(), std::make_pair(uint64_t{2}, int64_t{40}));
}

TEST_F(EpochsTest, ARunWhoseCheckpointsAreAllDamagedWaitsInsteadOfBeginningAgain) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  const std::string share =
      Get(id).run_dir() + "/checkpoints/step-00000020/share-0-of-1.safetensors";
  ASSERT_OK_AND_ASSIGN(const std::string whole, env_.ReadFile(share));
  ASSERT_OK(WriteFileAtomically(&env_, share, "x"));
  ASSERT_OK(w->Fail("out of memory", false));
  RoundsUntil([&] { return absl::StrContains(Get(id).reason(), "no checkpoint can be used"); });
  EXPECT_EQ(Get(id).committed_step(), 20);
  ASSERT_OK(WriteFileAtomically(&env_, share, whole));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(w->assignments().back(), std::make_pair(uint64_t{2}, int64_t{20}));
}

TEST_F(EpochsTest, AnEpochThatAMemberLeftWhileTheCoordinatorWasAwayEnds) {
  const std::string id = Submit(RunYaml("run", 40, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  Stop();
  b->Leave();  // it failed, and nobody was there to hear it
  Start();
  ASSERT_OK(a->Connect());
  ASSERT_OK(b->Connect());
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
  RoundsUntil([&] { return Get(id).committed_step() == 40; });
  Stop();
  a->Leave();  // both were told that all is done
  b->Leave();
  Start();
  ASSERT_OK(a->Connect());
  ASSERT_OK(b->Connect());
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  ExpectWholeCurve(id, 40);
}

v1::NextPlanRequest PlanFrom(const FakeAgent& worker, const std::string& run_id, int64_t step) {
  v1::NextPlanRequest request;
  *request.mutable_worker() = worker.Identity();
  request.set_run_id(run_id);
  request.set_epoch(1);
  request.set_from_step(step);
  return request;
}

TEST_F(EpochsTest, WhoIsToldThatAllIsDoneMayLeaveWhileTheCoordinatorIsAway) {
  const std::string id = Submit(RunYaml("run", 40, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).committed_step() == 40; });
  ASSERT_OK_AND_ASSIGN(const v1::NextPlanResponse told,
                       coordinator_->NextPlan(PlanFrom(*a, id, 40)));
  ASSERT_TRUE(told.has_done());
  Stop();
  a->Leave();
  b->Leave();
  Start();
  ASSERT_OK(a->Connect());
  ASSERT_OK(b->Connect());
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).epochs_lost(), 0);
}

TEST_F(EpochsTest, AnEndThatTheStoreRefusedComesOnceItTakesIt) {
  const std::string id = Submit(RunYaml("run", 40, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 40; });
  ASSERT_OK_AND_ASSIGN(const v1::NextPlanResponse told,
                       coordinator_->NextPlan(PlanFrom(*w, id, 40)));
  ASSERT_TRUE(told.has_done());
  Kill(w);
  store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true);
  AddWorker("w", 2);  // nobody is left who could say that it is idle
  Rounds(5);
  store_.Heal();
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_EQ(Get(id).epochs_lost(), 0);
}

// The end of an epoch is not stored, the epoch that another process of the same name is put into
// is, and the coordinator dies: after it there is one worker and two epochs that name it.
TEST_F(EpochsTest, TwoStoredEpochsOfOneNameBothEnd) {
  for (const bool sorted : {true, false}) {
    int submitted = 0;
    run_id_ = [&] {
      return absl::StrCat("r-", sorted, (submitted++ == 0) == sorted ? "-a" : "-b");
    };
    Start();
    const std::string first = Submit(RunYaml("first", 30, 1, "preemptible: false\n"));
    FakeAgent* w = AddWorker("w", 1);
    RoundsUntil([&] { return Get(first).step() >= 3; });
    const std::string second = Submit(RunYaml("second", 30, 1, "priority: 1\n"));
    Rounds(1);
    Kill(w);
    Rounds(4);
    // The tick's first write says that it was replaced; two that end the epoch fail.
    store_.FailApply(1, StoreFault::kRefuse, /*sticky=*/true);
    store_.OnAccess([this, before = store_.applies()] {
      if (store_.applies() == before + 3) store_.Heal();
    });
    FakeAgent* next = AddWorker("w", 2);
    RoundsUntil([&] { return Get(second).epoch() == 1u; }, 30);
    EXPECT_EQ(Get(first).epoch(), 1u);
    EXPECT_EQ(Get(first).epochs_lost(), 0) << "its end was not stored";
    store_.OnAccess(nullptr);
    Stop();
    Start();
    ASSERT_OK(next->Connect());
    RoundsUntil([&] {
      return Get(first).state() == v1::RUN_STATE_COMPLETED &&
             Get(second).state() == v1::RUN_STATE_COMPLETED;
    });
    EXPECT_EQ(Get(first).epochs_lost(), 1);
    Kill(next);
    Rounds(10);
  }
}

// It takes the place while a tick is on its way, after the look at who was replaced.
TEST_F(EpochsTest, NoEpochIsFormedBeforeThatOfAReplacedWorkerHasEnded) {
  const std::string first = Submit(RunYaml("first", 100, 1, "preemptible: false\n"));
  FakeAgent* w = AddWorker("w", 1);
  RoundsUntil([&] { return Get(first).step() >= 3; });
  const std::string second = Submit(RunYaml("second", 100, 1, "priority: 1\n"));
  Rounds(1);
  Kill(AddWorker("x", 1, [](FakeAgent* a) { a->memory_bytes = 1; }));
  clock_.Advance(absl::Seconds(1));
  bool replaced = false;
  store_.OnAccess([&] {  // the first write of the tick: that x is lost
    if (std::exchange(replaced, true)) return;
    Kill(w);
    AddWorker("w", 2);
  });
  coordinator_->Tick();
  ASSERT_TRUE(replaced);
  store_.OnAccess(nullptr);
  EXPECT_EQ(Get(first).epochs_lost(), 0);
  EXPECT_EQ(Get(second).epoch(), 0u);
  Rounds(1);
  EXPECT_EQ(Get(first).epochs_lost(), 1);
  EXPECT_EQ(Get(second).epoch(), 1u);
}

TEST_F(EpochsTest, ALossThatCannotBeStoredIsToldInBoundedWords) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true);
  Kill(a);
  Kill(b);
  Rounds(200);
  store_.Heal();
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; });
  EXPECT_LT(Get(id).reason().size(), 300u);
  EXPECT_THAT(Get(id).reason(), HasSubstr("its process (pid 100 on host) died or was cut off"));
}

// The store takes the end later: then it is told as it was decided.
TEST_F(EpochsTest, AnEndThatIsStoredLaterBlamesWhomItBlamed) {
  const std::string id = Submit(RunYaml("run", 100, 3));
  for (int i = 0; i < 3; ++i) AddWorker(absl::StrCat("w-", i));
  RoundsUntil([&] { return Get(id).step() >= 3; });
  FakeAgent* last = nullptr;
  for (FakeAgent* agent : live_) last = agent->rank() == 2 ? agent : last;
  ASSERT_NE(last, nullptr);
  const std::string name = last->name();
  // Its next process has its place when the store is well again: the loss is not found once more.
  store_.FailApply(0, StoreFault::kRefuse, /*sticky=*/true);
  Kill(last);
  AddWorker(name, 2);
  Rounds(5);
  store_.Heal();
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; });
  ASSERT_OK_AND_ASSIGN(const v1::ListEpochsResponse epochs, coordinator_->ListEpochs(id, 10));
  const auto ended = std::find_if(epochs.epochs().begin(), epochs.epochs().end(),
                                  [](const auto& e) { return e.has_failure(); });
  ASSERT_NE(ended, epochs.epochs().end());
  EXPECT_EQ(ended->failure().rank(), 2);
  EXPECT_EQ(ended->failure().worker(), name);
}

TEST_F(EpochsTest, AReadingOfCheckpointsThatEndsAfterACancelSaysNothing) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  ASSERT_OK(env_.Rename(Get(id).run_dir() + "/checkpoints", "/data-dir/elsewhere"));
  ASSERT_OK(w->Fail("input/output error", false));
  RoundsUntil([&] { return absl::StrContains(Get(id).reason(), "is not there"); });
  ASSERT_OK(coordinator_->Cancel(id, /*now=*/true));
  const std::string reason = Get(id).reason();
  Rounds(100);
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(Get(id).reason(), reason);
}

TEST_F(EpochsTest, RepeatedReportsCountOnce) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  v1::ReportRequest report;
  *report.mutable_worker() = w->Identity();
  report.set_run_id(id);
  report.set_epoch(1);
  report.set_request_id("same");
  report.add_log_lines()->set_line("only once");
  report.add_log_lines()->set_line("\x1b]0;title\x07");
  report.add_log_lines()->set_line(std::string(4095, 'a') + "ö");  // 4096 would cut the character
  ASSERT_OK(coordinator_->Report(report));
  ASSERT_OK(coordinator_->Report(report));
  int64_t sequence = 0;
  bool ended = false;
  int seen = 0;
  ASSERT_OK_AND_ASSIGN(const auto lines, coordinator_->Logs(id, 0, &sequence, &ended));
  for (const auto& line : lines) seen += line.line() == "only once";
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(lines[lines.size() - 2].line(), "?]0;title?") << "a terminal would obey it";
  EXPECT_EQ(lines.back().line(), std::string(4095, 'a'));
}

// A failure for good, in a report that also has something to be stored.
v1::ReportRequest LastWords(const FakeAgent& worker, const std::string& run_id) {
  v1::ReportRequest report;
  *report.mutable_worker() = worker.Identity();
  report.set_run_id(run_id);
  report.set_epoch(1);
  report.set_request_id("last words");
  report.add_log_lines()->set_line("a line to be stored");
  report.set_failure("/data/text/shard-0: truncated at byte 17");
  report.set_failure_is_permanent(true);
  return report;
}

TEST_F(EpochsTest, AFailureIsHeardAlsoWhenItsReportCannotBeStored) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  const v1::ReportRequest report = LastWords(*w, id);
  store_.FailApply(0, StoreFault::kRefuse);
  EXPECT_THAT(coordinator_->Report(report), StatusIs(Code::kResourceExhausted));
  coordinator_->Tick();
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_FAILED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("truncated at byte 17"));
}

TEST_F(EpochsTest, AFailureRepeatedAfterARestartIsHeard) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  const v1::ReportRequest report = LastWords(*w, id);
  ASSERT_OK(coordinator_->Report(report));  // counted; the coordinator dies before it acts
  Start();
  ASSERT_OK(w->Connect());
  ASSERT_OK(coordinator_->Report(report));
  coordinator_->Tick();
  EXPECT_EQ(Get(id).state(), v1::RUN_STATE_FAILED);
}

// A step that a checkpoint or a memory holds is not trained again: its loss comes now or never.
TEST_F(EpochsTest, LateReportsOfALostEpochAreKeptUntilTheNextOneRepeatsTheirSteps) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).committed_step() == 20 && Get(id).step() >= 22; });
  Kill(b);
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; }, 20);
  v1::ReportRequest late;
  *late.mutable_worker() = a->Identity();
  late.set_run_id(id);
  late.set_epoch(1);
  for (const int64_t step : {19, 20, 21}) {
    v1::StepMetrics* m = late.add_steps();
    m->set_step(step);
    m->set_loss(77);
    v1::EvaluationPoint* e = late.add_evaluations();
    e->set_step(step);
    e->set_source("text");
    e->set_weights("averaged");
  }
  EXPECT_THAT(coordinator_->Report(late), StatusIs(Code::kFailedPrecondition));  // still: leave
  v1::ListMetricsRequest request;
  request.set_run(id);
  request.set_first_step(19);
  ASSERT_OK_AND_ASSIGN(const auto kept, coordinator_->ListMetrics(request));
  EXPECT_EQ(kept.steps(0).loss(), 77);
  EXPECT_EQ(kept.steps(1).loss(), 77);
  EXPECT_EQ(kept.steps(2).loss(), 77) << "who knows from where the next epoch begins";
  std::multiset<int64_t> evaluated;
  for (const auto& e : kept.evaluations()) evaluated.insert(e.step());
  EXPECT_THAT(evaluated, testing::ElementsAre(19, 20, 21));
  AddWorker("w-1", 2);
  RoundsUntil([&] { return Get(id).epoch() == 2u; });
  EXPECT_THAT(coordinator_->Report(late), StatusIs(Code::kFailedPrecondition));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  ExpectWholeCurve(id, 100);
  ASSERT_OK_AND_ASSIGN(const auto repeated, coordinator_->ListMetrics(request));
  EXPECT_EQ(repeated.steps(1).loss(), 77);
  EXPECT_NE(repeated.steps(2).loss(), 77) << "trained again";
}

TEST_F(EpochsTest, ReportsBeyondThePlansAreRefused) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(id).step() >= 3; });
  v1::ReportRequest report;
  *report.mutable_worker() = w->Identity();
  report.set_run_id(id);
  report.set_epoch(1);
  report.add_steps()->set_step(99);
  EXPECT_THAT(coordinator_->Report(report),
              StatusIs(Code::kInvalidArgument, HasSubstr("steps: 99")));
}

// Whatever write of the store fails, once or with its answer lost, the run ends with a whole curve.
TEST_F(EpochsTest, ARunSurvivesTheFailureOfAnySingleWrite) {
  for (const StoreFault fault :
       {StoreFault::kRefuse, StoreFault::kLoseAnswer, StoreFault::kLoseTouch}) {
    for (int64_t nth = 0; nth < 60; nth += 3) {
      const std::string name = absl::StrCat("run-", static_cast<int>(fault), "-", nth);
      const std::string id = Submit(RunYaml(name, 30, 1));
      FakeAgent* w = AddWorker(name, 5);
      store_.FailApply(nth, fault);
      RoundsUntil([&] {
        return Get(id).state() == v1::RUN_STATE_COMPLETED ||
               Get(id).state() == v1::RUN_STATE_FAILED;
      });
      EXPECT_EQ(Get(id).state(), v1::RUN_STATE_COMPLETED) << name << " " << Get(id).reason();
      ExpectWholeCurve(id, 30);
      store_.Heal();
      Kill(w);
    }
  }
}

}  // namespace
}  // namespace tritter
