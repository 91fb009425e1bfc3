// Groups that stop between two steps, and go on from the memory of those who stay.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using Code = absl::StatusCode;

constexpr char kRareCheckpoints[] = "checkpoint: {every: 1000}\n";

std::string ElasticYaml(const std::string& name, int64_t steps, int min, int max,
                        const std::string& more) {
  std::string yaml = RunYaml(name, steps, min, more);
  const std::string was = absl::StrCat("max: ", min);
  yaml.replace(yaml.find(was), was.size(), absl::StrCat("max: ", max));
  return yaml;
}

class ElasticTest : public CoordinatorFixture {
 protected:
  void SetUp() override {
    agents_yield_ = true;
    Start();
  }
  // Two workers in a plan that ends far beyond the step they are at.
  std::string InALongPlan(int min_workers = 2, const std::string& more = kRareCheckpoints,
                          int64_t steps = 1000) {
    const std::string id = Submit(ElasticYaml("run", steps, min_workers, 2, more));
    b_ = AddWorker("w-1");
    a_ = AddWorker("w-0");  // acts after w-1 has its rendezvous: they go in step
    RoundsUntil([&] { return a_->plan().has_value() && a_->step() == 43; });
    EXPECT_EQ(b_->step(), 43);
    EXPECT_GT(a_->plan()->end_step(), 60);
    return id;
  }
  // The worker's assignment to the epoch.
  v1::Assignment Assigned(FakeAgent* agent, uint64_t epoch) {
    RoundsUntil(
        [&] { return !agent->assigned().empty() && agent->assigned().back().epoch() == epoch; },
        100);
    return agent->assigned().empty() ? v1::Assignment() : agent->assigned().back();
  }
  v1::NextPlanRequest Ask(const FakeAgent& agent, int64_t from, bool yielded) {
    v1::NextPlanRequest request;
    *request.mutable_worker() = agent.Identity();
    request.set_run_id(agent.run_id());
    request.set_epoch(agent.epoch());
    request.set_rank(agent.rank());
    request.set_from_step(from);
    request.set_yielded(yielded);
    return request;
  }
  void ExpectWholeCurve(const std::string& id, int64_t steps) {
    v1::ListMetricsRequest request;
    request.set_run(id);
    ASSERT_OK_AND_ASSIGN(const auto metrics, coordinator_->ListMetrics(request));
    ASSERT_EQ(metrics.steps_size(), steps);
    for (int64_t i = 0; i < steps; ++i) EXPECT_EQ(metrics.steps(static_cast<int>(i)).step(), i + 1);
  }

  FakeAgent* a_ = nullptr;
  FakeAgent* b_ = nullptr;
};

TEST_F(ElasticTest, APauseWaitsForNoPlan) {
  const std::string id = InALongPlan();
  ASSERT_OK(coordinator_->Pause(id));
  coordinator_->Tick();  // tells them
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_PAUSED; }, 10);
  // The step under way, and one more with its checkpoint.
  EXPECT_EQ(Get(id).committed_step(), 46);
  EXPECT_THAT(a_->trained(), SizeIs(46));
  EXPECT_EQ(Get(id).reason(), "paused at step 46");
  ASSERT_OK(coordinator_->Resume(id));
  RoundsUntil([&] { return Get(id).step() >= 50; });
  EXPECT_EQ(a_->assignments().back(), std::make_pair(uint64_t{2}, int64_t{46}));
  EXPECT_FALSE(a_->assigned().back().from_memory()) << "the checkpoint is as good";
}

TEST_F(ElasticTest, ACancelWaitsForNoPlanEither) {
  const std::string id = InALongPlan();
  ASSERT_OK(coordinator_->Cancel(id, false));
  coordinator_->Tick();
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_CANCELLED; }, 10);
  EXPECT_EQ(Get(id).committed_step(), 46);
}

TEST_F(ElasticTest, AWishThatHasGoneCostsNothing) {
  const std::string id = InALongPlan();
  ASSERT_OK(coordinator_->Pause(id));
  coordinator_->Tick();  // tells them
  ASSERT_OK(coordinator_->Resume(id));
  RoundsUntil([&] { return Get(id).step() >= 60; }, 40);
  EXPECT_EQ(Get(id).epoch(), 1u);
  EXPECT_THAT(a_->trained(), SizeIs(Get(id).step()));
  EXPECT_TRUE(a_->plans.contains(45)) << "it stopped there, and was told to go on";
}

TEST_F(ElasticTest, EveryRankGetsTheSameAnswerAndARepeatTooAlsoAfterARestart) {
  const std::string id = InALongPlan();
  ASSERT_OK(coordinator_->NextPlan(Ask(*a_, a_->plan()->end_step(), false)));  // fetched ahead
  const int64_t ahead = a_->plan()->end_step();
  ASSERT_OK_AND_ASSIGN(const auto first, coordinator_->NextPlan(Ask(*a_, 43, true)));
  ASSERT_TRUE(first.has_plan());
  EXPECT_EQ(first.plan().first_step(), 43);
  EXPECT_NE(first.plan().end_step(), ahead);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(coordinator_->NextPlan(Ask(*b_, 43, true))->SerializeAsString(),
              first.SerializeAsString());
    EXPECT_EQ(coordinator_->NextPlan(Ask(*a_, 43, true))->SerializeAsString(),
              first.SerializeAsString());
    EXPECT_THAT(coordinator_->NextPlan(Ask(*a_, ahead, false)),
                StatusIs(Code::kInvalidArgument, HasSubstr("the plans so far end at")))
        << "the plan that was fetched ahead is gone";
    Stop();
    Start();
    ASSERT_OK(a_->Connect());
    ASSERT_OK(b_->Connect());
  }
}

TEST_F(ElasticTest, NobodyStopsWhereTheGroupHasBeenAlready) {
  InALongPlan();
  EXPECT_THAT(coordinator_->NextPlan(Ask(*b_, 42, true)),
              StatusIs(Code::kInvalidArgument, HasSubstr("has reported step 43")));
  EXPECT_THAT(coordinator_->NextPlan(Ask(*b_, 4300, true)),
              StatusIs(Code::kInvalidArgument, HasSubstr("no plan of epoch 1 begins there")));
}

TEST_F(ElasticTest, OneOfTwoLeavesAndTheOtherGoesOnFromItsMemoryWithNoLostStep) {
  const std::string id = InALongPlan(/*min_workers=*/1);
  a_->draining = true;
  RoundsUntil([&] { return Get(id).epoch() == 2u && Get(id).step() >= 50; }, 60);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
  ASSERT_THAT(b_->assigned(), SizeIs(2));
  const v1::Assignment& second = b_->assigned().back();
  EXPECT_TRUE(second.from_memory());
  EXPECT_EQ(second.start_step(), static_cast<int64_t>(a_->trained().size()));
  EXPECT_LE(second.start_step(), 46);
  EXPECT_EQ(second.state_rank(), 0);
  EXPECT_EQ(second.state_epoch(), 1u);
  EXPECT_EQ(second.manifest_sha256(), "");
  EXPECT_EQ(Get(id).committed_step(), 0) << "no checkpoint was needed";
  EXPECT_THAT(b_->trained(), SizeIs(b_->step())) << "nothing twice, nothing skipped";
  EXPECT_THAT(Get(id).members(), SizeIs(1));
  ExpectWholeCurve(id, Get(id).step());
}

TEST_F(ElasticTest, TheLastOneToLeaveWritesACheckpoint) {
  const std::string id = Submit(RunYaml("run", 1000, 1, kRareCheckpoints));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return w->step() == 43; });
  w->draining = true;
  RoundsUntil([&] { return w->idle(); }, 20);
  Rounds(2);
  EXPECT_GT(Get(id).committed_step(), 43);
  EXPECT_LE(Get(id).committed_step(), 46);
  EXPECT_THAT(w->trained(), SizeIs(Get(id).committed_step()));
  EXPECT_EQ(Get(id).epochs_lost(), 0);
}

TEST_F(ElasticTest, AStateThatIsSpreadOverTheRanksIsWritten) {
  std::string yaml = ElasticYaml("run", 1000, 1, 2, kRareCheckpoints);
  yaml.replace(yaml.find("  global_batch"), 0, "  shard_optimizer: true\n");
  const std::string id = Submit(yaml);
  FakeAgent* a = AddWorker("w-0");
  FakeAgent* b = AddWorker("w-1");
  RoundsUntil([&] { return a->step() == 43; });
  a->draining = true;
  const v1::Assignment second = Assigned(b, 2);
  EXPECT_GT(Get(id).committed_step(), 43);
  EXPECT_FALSE(second.from_memory());
  EXPECT_EQ(second.start_step(), Get(id).committed_step());
  EXPECT_EQ(static_cast<int64_t>(b->trained().size()), Get(id).committed_step());
}

TEST_F(ElasticTest, AShardedStateOfOneRankIsWrittenToo) {
  std::string yaml = ElasticYaml("run", 1000, 1, 2, kRareCheckpoints);
  yaml.replace(yaml.find("  global_batch"), 0, "  shard_optimizer: true\n");
  const std::string id = Submit(yaml);
  FakeAgent* a = AddWorker("w-0");
  RoundsUntil([&] { return a->step() == 43; });
  a->draining = true;
  AddWorker("w-1");
  RoundsUntil([&] { return Get(id).epoch() == 2; });
  EXPECT_GT(Get(id).committed_step(), 43) << "its trainer keeps no state";
}

TEST_F(ElasticTest, AGroupOfCpusAndGpusStopsWithACheckpointAndSoDoesOneThatBecomesIt) {
  std::string yaml = ElasticYaml("run", 100000, 1, 2, kRareCheckpoints);
  yaml.replace(yaml.find("max: 2"), 6, "max: 2, device: any");
  const std::string id = Submit(yaml);
  FakeAgent* cpu = AddWorker("c");
  RoundsUntil([&] { return cpu->step() >= 60; });
  EXPECT_FALSE(cpu->assigned().back().mixed_devices());
  FakeAgent* gpu = AddWorker("g", 1, [](FakeAgent* agent) { agent->device = "cuda:0 A"; });
  RoundsUntil([&] { return Get(id).members_size() == 2 && Get(id).epoch() == 2; }, 400);
  const v1::Assignment mixed = Assigned(gpu, 2);
  EXPECT_TRUE(mixed.mixed_devices());
  EXPECT_FALSE(mixed.from_memory());
  EXPECT_GE(mixed.start_step(), 60) << "no step is lost";
  EXPECT_EQ(mixed.start_step(), Get(id).committed_step());
  EXPECT_EQ(mixed.start_step(), static_cast<int64_t>(cpu->trained().size()));
  RoundsUntil([&] { return gpu->step() > mixed.start_step() + 20; });
  cpu->draining = true;
  const v1::Assignment alone = Assigned(gpu, 3);
  EXPECT_FALSE(alone.mixed_devices());
  EXPECT_FALSE(alone.from_memory());
  EXPECT_EQ(alone.start_step(), Get(id).committed_step());
  EXPECT_GT(alone.start_step(), mixed.start_step() + 20);
  EXPECT_EQ(Get(id).epochs_lost(), 0);
}

TEST_F(ElasticTest, ASurvivorGoesOnFromItsMemoryWhereItsCheckpointIsOlder) {
  const std::string id = InALongPlan(/*min_workers=*/1, "checkpoint: {every: 20, keep: 2}\n", 100);
  ASSERT_EQ(Get(id).committed_step(), 40);
  Kill(b_);
  const v1::Assignment second = Assigned(a_, 2);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
  EXPECT_TRUE(second.from_memory());
  EXPECT_GE(second.start_step(), 43);
  EXPECT_THAT(Get(id).reason(), HasSubstr("formed of w-0 trains from step "));
  EXPECT_THAT(Get(id).reason(), HasSubstr(" in the memory of w-0"));
  EXPECT_THAT(EventKinds(id), testing::Not(Contains(kEventStepsRepeated)));
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_THAT(a_->trained(), SizeIs(100)) << "no step twice";
  ExpectWholeCurve(id, 100);
}

// What a rank 0 took with it is told by who goes on from the same state; what is known stands.
TEST_F(ElasticTest, StepsThatAnEarlierEpochTrainedAndDidNotReportAreTakenOnce) {
  const std::string id = InALongPlan(/*min_workers=*/1,
                                     "checkpoint: {every: 20, keep: 2}\n"
                                     "evaluation: {every: 45}\n",
                                     100);
  a_->mute = true;
  RoundsUntil([&] { return a_->step() == 46; });
  Kill(a_);
  const v1::Assignment second = Assigned(b_, 2);
  ASSERT_TRUE(second.from_memory());
  const int64_t start = second.start_step();
  ASSERT_GE(start, 45);
  ASSERT_OK_AND_ASSIGN(const v1::ListEpochsResponse epochs, coordinator_->ListEpochs(id, 10));
  EXPECT_EQ(epochs.epochs(0).end_step(), start) << "the second goes on where the first was";
  EXPECT_EQ(epochs.epochs(1).start_step(), start);
  RoundsUntil([&] { return b_->plan().has_value(); });
  v1::ReportRequest report;
  *report.mutable_worker() = b_->Identity();
  report.set_run_id(id);
  report.set_epoch(2);
  for (int64_t step = 41; step <= start; ++step) {
    v1::StepMetrics* m = report.add_steps();
    m->set_step(step);
    m->set_epoch(1);
    m->set_loss(77);
    m->set_tokens(2048);
    m->set_step_seconds(1);
  }
  for (int i = 0; i < 2; ++i) {
    v1::EvaluationPoint* e = report.add_evaluations();
    e->set_step(45);
    e->set_source("text");
    e->set_weights("averaged");
    e->set_loss(77);
    report.set_request_id(absl::StrCat("request ", i));
    ASSERT_OK(coordinator_->Report(report));  // again, by another request: nothing is new
  }
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  ExpectWholeCurve(id, 100);
  v1::ListMetricsRequest request;
  request.set_run(id);
  request.set_first_step(41);
  ASSERT_OK_AND_ASSIGN(const auto curve, coordinator_->ListMetrics(request));
  EXPECT_NE(curve.steps(2).loss(), 77) << "43 was reported before";
  EXPECT_EQ(curve.steps(3).loss(), 77);
  EXPECT_EQ(curve.steps(3).epoch(), 1u) << "that trained it";
  EXPECT_EQ(curve.steps(4).loss(), 77);
  EXPECT_EQ(curve.evaluations(0).step(), 45);
  EXPECT_EQ(curve.evaluations(0).loss(), 77);
  int of_45 = 0;
  for (const auto& e : curve.evaluations()) of_45 += e.step() == 45;
  EXPECT_EQ(of_45, 1);
  EXPECT_EQ(Get(id).reported_tokens(), 100 * 2048) << "every step once";
}

TEST_F(ElasticTest, AThirdWorkerGetsTheStateOfTheSurvivor) {
  const std::string id = InALongPlan();
  AddWorker("a-first");  // rank 0 of the next epoch
  Kill(a_);
  const v1::Assignment second = Assigned(b_, 2);
  EXPECT_EQ(second.rank(), 1);
  EXPECT_TRUE(second.from_memory());
  EXPECT_EQ(second.state_rank(), 1);
  EXPECT_EQ(second.start_step(), b_->step());
  EXPECT_GE(second.start_step(), 43);
  RoundsUntil([&] { return Get(id).step() > second.start_step() + 10; });
  ASSERT_FALSE(agents_[2]->trained().empty());
  EXPECT_EQ(agents_[2]->trained().front(), std::make_pair(uint64_t{2}, second.start_step() + 1));
}

TEST_F(ElasticTest, WithoutTheMemoryTheCheckpointIsTaken) {
  const std::string id = InALongPlan(/*min_workers=*/1, "checkpoint: {every: 20, keep: 2}\n", 100);
  a_->holds = false;  // it was in the middle of an update
  Kill(b_);
  Assigned(a_, 2);
  EXPECT_EQ(a_->assignments().back(), std::make_pair(uint64_t{2}, int64_t{40}));
  EXPECT_FALSE(a_->assigned().back().from_memory());
  v1::ListEventsRequest request;
  request.set_run(id);
  ASSERT_OK_AND_ASSIGN(const auto events, coordinator_->ListEvents(request));
  std::vector<std::string> repeated;
  for (const v1::Event& e : events.events()) {
    if (e.kind() == kEventStepsRepeated) repeated.push_back(e.message());
  }
  const int64_t reached = a_->trained().back().second;
  EXPECT_THAT(repeated, ElementsAre(HasSubstr(absl::StrCat("trains ", reached - 40,
                                                           " steps again (41 to ", reached, ")"))));
}

TEST_F(ElasticTest, WhoHoldsMoreThanAllMembersIsWaitedForWhileItLeaves) {
  const std::string id = InALongPlan(/*min_workers=*/1, "checkpoint: {every: 20, keep: 2}\n", 100);
  AddWorker("w-2");  // free for long when w-1 is lost: it alone would do
  Rounds(30);
  const int64_t before = a_->step();
  Kill(b_);
  const v1::Assignment second = Assigned(a_, 2);
  EXPECT_THAT(Get(id).members(), SizeIs(2));
  EXPECT_TRUE(second.from_memory());
  EXPECT_GE(second.start_step(), before);
}

// The group ends when rank 1 has done step 40, before rank 0 has evaluated and both have saved it.
TEST_F(ElasticTest, WhatWasDueAtTheHeldStepIsDoneFirst) {
  const std::string id = Submit(
      ElasticYaml("run", 100, 1, 2, "checkpoint: {every: 20, keep: 2}\nevaluation: {every: 20}\n"));
  FakeAgent* b = AddWorker("w-1");  // acts first
  FakeAgent* a = AddWorker("w-0");
  RoundsUntil([&] { return a->step() == 39 && b->step() == 39; });
  b->Act();
  ASSERT_EQ(b->step(), 40);
  Kill(a);
  const v1::Assignment second = Assigned(b, 2);
  ASSERT_TRUE(second.from_memory());
  ASSERT_EQ(second.start_step(), 40);
  RoundsUntil([&] { return b->step() > 41; }, 50);
  ASSERT_TRUE(b->plans.contains(40));
  const v1::Plan& plan = b->plans.at(40);
  ASSERT_GT(plan.checkpoints_size(), 0);
  EXPECT_EQ(plan.checkpoints(0).step(), 40);
  EXPECT_EQ(plan.checkpoints(0).attempt(), "e2");
  EXPECT_THAT(plan.evaluate_at(), Contains(40));
  EXPECT_THAT(b->evaluated(), ElementsAre(40));
  EXPECT_EQ(Get(id).committed_step(), 40);
  RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; });
  EXPECT_THAT(b->evaluated(), ElementsAre(40, 60, 80, 100));
}

TEST_F(ElasticTest, AnEvaluationThatWasReportedIsNotMadeAgain) {
  const std::string id =
      Submit(ElasticYaml("run", 100, 1, 2, "checkpoint: {every: 1000}\nevaluation: {every: 20}\n"));
  FakeAgent* b = AddWorker("w-1");
  FakeAgent* a = AddWorker("w-0");
  RoundsUntil([&] { return a->step() == 39 && b->step() == 39; });
  a->Act();
  ASSERT_EQ(a->step(), 40);
  Kill(b);
  ASSERT_EQ(Assigned(a, 2).start_step(), 40);
  RoundsUntil([&] { return a->step() > 41; }, 50);
  EXPECT_THAT(a->plans.at(40).evaluate_at(), testing::Not(Contains(40)));
  EXPECT_THAT(a->evaluated(), ElementsAre(20, 40));
}

TEST_F(ElasticTest, AStateThatFailsAgainAndAgainIsGivenUpForTheCheckpoint) {
  const std::string id = Submit(RunYaml("run", 100, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return w->step() == 27; });
  const auto fail = [&] {
    ASSERT_OK(w->Fail("loss is not finite", false));
    w->Leave();
  };
  fail();
  RoundsUntil([&] { return Get(id).epoch() == 2u && !w->idle(); }, 100);
  EXPECT_TRUE(w->assigned().back().from_memory());
  EXPECT_EQ(w->assignments().back().second, 27);
  fail();  // without progress
  RoundsUntil([&] { return Get(id).epoch() == 3u && !w->idle(); }, 100);
  EXPECT_TRUE(w->assigned().back().from_memory());
  fail();  // the second without
  RoundsUntil([&] { return Get(id).epoch() == 4u && !w->idle(); }, 100);
  EXPECT_FALSE(w->assigned().back().from_memory());
  EXPECT_EQ(w->assignments().back().second, 20);
}

TEST_F(ElasticTest, AnEpochFromMemoryThatEndsBeforeItsFirstStepBeginsThereAgain) {
  const std::string id = InALongPlan(/*min_workers=*/1);
  a_->draining = true;
  RoundsUntil([&] { return Get(id).epoch() == 2u; }, 60);
  const int64_t at = b_->held()->step();
  // Its assignment has not reached w-1: the stream breaks, and the coordinator restarts.
  Stop();
  Start();
  EXPECT_THAT(EventKinds(id), Contains(kEventEpochLost)) << "its members cannot be told any more";
  ASSERT_OK(b_->Connect());
  RoundsUntil([&] { return Get(id).epoch() == 3u && Get(id).step() > at; }, 60);
  EXPECT_EQ(b_->assigned().back().start_step(), at);
  EXPECT_TRUE(b_->assigned().back().from_memory());
}

TEST_F(ElasticTest, AnEpochFromMemoryLivesThroughARestartOnceItTrains) {
  const std::string id = InALongPlan(/*min_workers=*/1);
  Kill(b_);
  RoundsUntil([&] { return Get(id).epoch() == 2u && a_->step() > 46; }, 60);
  Stop();
  Start();
  ASSERT_OK(a_->Connect());
  const int64_t at = a_->step();
  RoundsUntil([&] { return a_->step() >= at + 5; }, 60);
  EXPECT_EQ(Get(id).epoch(), 2u);
  EXPECT_EQ(Get(id).epochs_lost(), 1);
}

// Each of these epochs goes beyond all before it. A coordinator that forgets that with every
// restart takes the run for one that fails without progress: it goes back to checkpoints, then
// gives up.
TEST_F(ElasticTest, AMemberAndTheCoordinatorKilledTogetherAgainAndAgainCostNoStep) {
  const std::string id = InALongPlan();
  for (uint64_t killed = 1; killed <= 6; ++killed) {
    const int64_t at = Get(id).step();
    Kill(b_);
    Stop();
    Start();
    ASSERT_OK(a_->Connect());
    b_ = AddWorker("w-1", 1 + killed);
    RoundsUntil([&] { return Get(id).epoch() == 1 + killed && Get(id).step() >= at + 5; }, 100);
    ASSERT_EQ(Get(id).state(), v1::RUN_STATE_RUNNING) << Get(id).reason();
    EXPECT_TRUE(a_->assigned().back().from_memory());
  }
  EXPECT_THAT(a_->trained(), SizeIs(a_->step())) << "nothing twice";
  EXPECT_THAT(EventKinds(id), Not(Contains(kEventStepsRepeated)));
}

// Each of these epochs is to begin with the state that the first one left, and never does.
TEST_F(ElasticTest, TheStateOutlivesEpochsThatDidNotBegin) {
  const std::string id = InALongPlan();
  for (uint64_t killed = 1; killed <= 4; ++killed) {
    Kill(b_);
    Stop();
    Start();
    ASSERT_OK(a_->Connect());
    b_ = AddWorker("w-1", 1 + killed);
    RoundsUntil([&] { return Get(id).epoch() == 1 + killed; }, 100);
  }
  RoundsUntil([&] { return Get(id).step() >= 50; }, 100);
  EXPECT_THAT(a_->trained(), SizeIs(a_->step())) << "nothing twice";
  EXPECT_THAT(EventKinds(id), Not(Contains(kEventStepsRepeated)));
}

// The same step again and again is no progress, whoever restarts in between.
TEST_F(ElasticTest, ARestartIsNoProgress) {
  options_.liveness.blame_window = absl::ZeroDuration();
  const std::string id = InALongPlan();
  for (uint64_t epoch = 1; epoch <= 4; ++epoch) {
    Stop();
    Start();
    ASSERT_OK(a_->Connect());
    ASSERT_OK(b_->Connect());
    ASSERT_OK(a_->Fail("loss is not finite", false));
    coordinator_->Tick();
    ASSERT_EQ(Get(id).epochs_lost(), static_cast<int64_t>(epoch));
    if (epoch == 4) break;
    Assigned(a_, epoch + 1);
    RoundsUntil([&] { return a_->plan().has_value(); }, 100);
  }
  EXPECT_THAT(Get(id).reason(), HasSubstr("3 epochs in a row made no progress"));
}

// The epoch has ended, the coordinator is started again: two that are free are there at once, and
// the one that holds the newest state a second later.
TEST_F(ElasticTest, ARestartedCoordinatorWaitsForWhoMayHoldTheState) {
  const std::string id = InALongPlan();
  Kill(b_);
  RoundsUntil([&] { return Get(id).epochs_lost() == 1 && a_->idle(); }, 20);
  Stop();
  Start();
  AddWorker("x");
  AddWorker("y");
  Rounds(10);
  EXPECT_EQ(Get(id).epoch(), 1u);
  EXPECT_EQ(Get(id).waiting_cause(), "workers_leaving");
  EXPECT_THAT(Get(id).reason(), HasSubstr("for w-0 to tell what it holds in memory, before it goes "
                                          "on from a checkpoint"));
  ASSERT_OK(a_->Connect());
  RoundsUntil([&] { return Get(id).epoch() == 2u && Get(id).step() >= 50; }, 60);
  EXPECT_THAT(a_->trained(), SizeIs(a_->step())) << "nothing twice";
  EXPECT_THAT(EventKinds(id), Not(Contains(kEventStepsRepeated)));
}

TEST_F(ElasticTest, ItWaitsNoLongerThanLeavingMayTake) {
  const std::string id = InALongPlan();
  Kill(b_);
  RoundsUntil([&] { return Get(id).epochs_lost() == 1; }, 20);
  Kill(a_);
  Stop();
  Start();
  AddWorker("x");
  AddWorker("y");
  Rounds(49);
  EXPECT_EQ(Get(id).epoch(), 1u);
  Rounds(3);
  EXPECT_EQ(Get(id).epoch(), 2u);
  v1::ListEventsRequest request;
  request.set_run(id);
  ASSERT_OK_AND_ASSIGN(const auto events, coordinator_->ListEvents(request));
  EXPECT_THAT(events.events(),
              Contains(testing::Property(
                  &v1::Event::message,
                  HasSubstr("no checkpoint holds them, and w-0 did not tell in time what it holds "
                            "in memory"))));
}

// One dies when the last step is done, and its checkpoint is not: nothing is left to train, the
// others write it.
TEST_F(ElasticTest, AMemberLostAfterTheLastStepCostsNoStep) {
  for (const bool restart : {false, true}) {
    const std::string id =
        Submit(ElasticYaml(restart ? "run-b" : "run-a", 60, 2, 2, kRareCheckpoints));
    FakeAgent* b = AddWorker(restart ? "b-1" : "a-1");
    FakeAgent* a = AddWorker(restart ? "b-0" : "a-0");
    b->cannot_commit = true;
    RoundsUntil([&] { return a->step() == 60 && b->step() == 60; });
    Kill(b);
    RoundsUntil([&] { return Get(id).epochs_lost() == 1; }, 20);
    if (restart) {
      Stop();
      Start();
      ASSERT_OK(a->Connect());
    }
    FakeAgent* c = AddWorker(restart ? "b-2" : "a-2");
    RoundsUntil([&] { return Get(id).state() == v1::RUN_STATE_COMPLETED; }, 100);
    EXPECT_EQ(Get(id).state(), v1::RUN_STATE_COMPLETED) << Get(id).reason();
    EXPECT_EQ(Get(id).epoch(), 2u);
    EXPECT_THAT(a->trained(), SizeIs(60)) << "nothing twice";
    EXPECT_THAT(c->trained(), IsEmpty());
    EXPECT_THAT(EventKinds(id), Not(Contains(kEventStepsRepeated)));
    ExpectWholeCurve(id, 60);
    Kill(a);
    Kill(c);
    Rounds(20);
  }
}

TEST_F(ElasticTest, ItWaitsForNobodyWhereAllAreOtherProcesses) {
  const std::string id = InALongPlan();
  Kill(a_);
  Kill(b_);
  Stop();
  Start();
  AddWorker("w-0", 2);
  AddWorker("w-1", 2);
  Rounds(3);
  EXPECT_EQ(Get(id).epoch(), 2u);
}

TEST_F(ElasticTest, ARunThatLostAWorkerGoesOnBeforeAnOlderOneThatWaits) {
  const std::string older = Submit(RunYaml("older", 1000, 2));
  ASSERT_OK(coordinator_->Pause(older));
  clock_.Advance(absl::Milliseconds(10));
  const std::string id = InALongPlan();
  ASSERT_OK(coordinator_->Resume(older));
  Rounds(1);
  Kill(b_);
  b_ = AddWorker("w-1", 2);
  RoundsUntil([&] { return Get(id).epoch() == 2u || Get(older).epoch() == 1u; }, 100);
  ASSERT_EQ(Get(id).epoch(), 2u);
  EXPECT_TRUE(Assigned(a_, 2).from_memory());
}

TEST_F(ElasticTest, WhatAWaitingRunGoesOnFromIsSaidAndThatAnotherTakesIt) {
  const std::string id = InALongPlan();
  Kill(b_);
  RoundsUntil([&] { return Get(id).waiting_cause() == "workers_lost" && a_->idle(); }, 60);
  Rounds(1);
  const int64_t at = a_->held()->step();
  EXPECT_THAT(Get(id).reason(), HasSubstr(absl::StrCat("; it goes on from step ", at,
                                                       ", which w-0 holds in memory (newest "
                                                       "checkpoint: none)")));
  // A paused run keeps what a worker holds of it, and says who that is.
  ASSERT_OK(coordinator_->Pause(id));
  EXPECT_EQ(Get(id).reason(), absl::StrCat("paused before its first checkpoint; its ", at,
                                           " steps are in the memory of w-0 alone, until other "
                                           "work comes there"));
  ASSERT_OK(coordinator_->Resume(id));
  // One of a higher priority gets them all the same, and that is told.
  b_ = AddWorker("w-1", 2);
  const std::string urgent = Submit(absl::StrCat("priority: 5\n", RunYaml("urgent", 1000, 2)));
  RoundsUntil([&] { return Get(urgent).epoch() == 1u || Get(id).epoch() == 2u; }, 100);
  ASSERT_EQ(Get(urgent).epoch(), 1u);
  v1::ListEventsRequest request;
  request.set_run(id);
  ASSERT_OK_AND_ASSIGN(const auto events, coordinator_->ListEvents(request));
  EXPECT_THAT(events.events(), Contains(testing::Truly([&](const v1::Event& e) {
                return e.kind() == kEventStepsGivenUp &&
                       e.message() == absl::StrCat("w-0 goes to run urgent (", urgent,
                                                   "), and with it the state of step ", at,
                                                   " in its memory: steps 1 to ", at,
                                                   " are trained again when the run goes on "
                                                   "(newest checkpoint: none)");
              })));
}

}  // namespace
}  // namespace tritter
