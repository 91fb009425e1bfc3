// Real processes on loopback: whatever is killed, the run ends by itself in the same weights, bit
// for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "common/testing/status_matchers.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/train.h"

namespace tritter::e2e {
namespace {

constexpr int kSteps = 100;

// Runs `name` to its end with `disturb` called once training has passed `from_step`.
v1::Run Train(const std::string& name, std::map<std::string, std::string> overrides, int workers,
              const std::function<void(Cluster&, const v1::Run&)>& disturb,
              int64_t from_step = 30) {
  overrides.insert({{"steps", std::to_string(kSteps)}, {"export", "{}"}, {"evaluate", "50"}});
  Training training = {.name = name, .overrides = std::move(overrides), .disturb = disturb};
  for (int i = 0; i < workers; ++i) training.workers.push_back({"w" + std::to_string(i)});
  // At step 30 there is something to lose: the newest checkpoint is that of step 20.
  training.under_way = [=](const v1::Run& r) {
    return r.step() >= from_step && (from_step < 20 || r.committed_step() >= 20);
  };
  return Train(training);
}

// The undisturbed run that the others are compared with.
const v1::Run& Reference() {
  static const v1::Run* run = new v1::Run(Train("reference", {}, 2, nullptr));
  return *run;
}

TEST(Survival, AKilledWorkerComesBackAndTheRunEndsInTheSameWeights) {
  const v1::Run run = Train("worker-killed", {}, 2, [](Cluster& cluster, const v1::Run&) {
    cluster.KillWorker("w1");
    EXPECT_OK(cluster.StartWorker("w1"));
  });
  EXPECT_GE(run.epoch(), 2u);
  EXPECT_EQ(Difference(FinalState(Reference()), FinalState(run)), "");
}

TEST(Survival, AKilledRankZeroComesBackToo) {
  const v1::Run run = Train("rank-zero-killed", {}, 2, [](Cluster& cluster, const v1::Run& now) {
    ASSERT_EQ(now.members_size(), 2);
    const std::string name = now.members(0).worker();
    cluster.KillWorker(name);
    EXPECT_OK(cluster.StartWorker(name));
  });
  EXPECT_GE(run.epoch(), 2u);
  EXPECT_EQ(Difference(FinalState(Reference()), FinalState(run)), "");
}

TEST(Survival, AKilledCoordinatorComesBackAndNoStepIsRepeated) {
  const v1::Run run = Train("coordinator-killed", {}, 2, [](Cluster& cluster, const v1::Run&) {
    cluster.KillCoordinator();
    EXPECT_OK(cluster.StartCoordinator());
  });
  EXPECT_EQ(run.epoch(), 1u) << "the epoch goes on: " << run.reason();
  EXPECT_EQ(Difference(FinalState(Reference()), FinalState(run)), "");
}

// Twice: a coordinator that forgets what the epochs before a restart achieved takes the second for
// a run that fails, and begins again.
TEST(Survival, AWorkerAndTheCoordinatorKilledTogetherAndTheSurvivorsStepsAreNotRepeated) {
  // Long enough for two blows, each seen to be over by the reports of every second.
  const std::map<std::string, std::string> longer = {{"steps", "400"}, {"every", "1000"}};
  const v1::Run undisturbed = Train("both-undisturbed", longer, 2, nullptr);
  const v1::Run run = Train(
      "both-killed", longer, 2,
      [](Cluster& cluster, const v1::Run& now) {
        const std::string& id = now.run_id();
        for (uint64_t epoch = 2; epoch <= 3; ++epoch) {
          cluster.KillWorker("w1");
          cluster.KillCoordinator();
          EXPECT_OK(cluster.StartCoordinator());
          EXPECT_OK(cluster.StartWorker("w1"));
          auto formed = cluster.WaitFor(id, [&](const v1::Run& r) { return r.epoch() == epoch; });
          ASSERT_OK(formed.status());
          auto again =
              cluster.WaitFor(id, [&](const v1::Run& r) { return r.step() > formed->step(); });
          ASSERT_OK(again.status());
        }
        grpc::ClientContext context;
        v1::ListEventsRequest request;
        request.set_run(id);
        request.set_limit(1000);
        v1::ListEventsResponse events;
        ASSERT_TRUE(cluster.runs().ListEvents(&context, request, &events).ok());
        for (const v1::Event& e : events.events())
          EXPECT_NE(e.kind(), "steps_repeated") << e.message() << "\n" << cluster.LogTails();
      },
      /*from_step=*/5);
  EXPECT_EQ(Difference(FinalState(undisturbed), FinalState(run)), "");
}

TEST(Survival, PausedAndResumedEndsInTheSameWeights) {
  const v1::Run run = Train(
      "paused", {}, 2,
      [](Cluster& cluster, const v1::Run& now) {
        const std::string& id = now.run_id();
        grpc::ClientContext pause_context;
        v1::PauseRunRequest pause;
        pause.set_run(id);
        v1::Run answer;
        ASSERT_TRUE(cluster.runs().PauseRun(&pause_context, pause, &answer).ok());
        auto paused =
            cluster.WaitFor(id, [](const v1::Run& r) { return r.state() == v1::RUN_STATE_PAUSED; });
        ASSERT_OK(paused.status());
        EXPECT_EQ(paused->committed_step(), paused->step());
        grpc::ClientContext resume_context;
        v1::ResumeRunRequest resume;
        resume.set_run(id);
        ASSERT_TRUE(cluster.runs().ResumeRun(&resume_context, resume, &answer).ok());
      },
      /*from_step=*/1);  // early: the plans in hand are finished first
  EXPECT_EQ(Difference(FinalState(Reference()), FinalState(run)), "");
}

TEST(Survival, TwoWorkersEqualOneThatAccumulatesTheSameMicroBatches) {
  const v1::Run run = Train("one-worker", {{"min", "1"}, {"max", "1"}}, 1, nullptr);
  EXPECT_EQ(Difference(FinalState(Reference()), FinalState(run)), "");
}

// Every rank has moments and residuals of its own, which a checkpoint holds all of. Rounds of eight
// steps: those of 20, 40, … are written after 24, 40, …
TEST(Survival, AKilledWorkerInsideARoundOfSyncOuterComesBackToTheSameWeights) {
  const std::map<std::string, std::string> outer = {
      {"training",
       "  sync: outer\n  outer: {steps: 8, rate: 0.7, momentum: 0.9, compression: int8}\n"}};
  const v1::Run undisturbed = Train("outer", outer, 2, nullptr);
  const v1::Run run = Train("outer-worker-killed", outer, 2, [](Cluster& cluster, const v1::Run&) {
    cluster.KillWorker("w1");
    EXPECT_OK(cluster.StartWorker("w1"));
  });
  EXPECT_GE(run.epoch(), 2u);
  const State state = FinalState(run);
  const auto own = state.lower_bound("adam_m@1/");
  EXPECT_TRUE(own != state.end() && own->first.starts_with("adam_m@1/"));
  EXPECT_EQ(Difference(FinalState(undisturbed), state), "");
}

}  // namespace
}  // namespace tritter::e2e
