// What operators go by: every metric of the coordinator that another test does not show, and every
// kind of event of a run's life.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/coordinator_metrics.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class SignsTest : public CoordinatorFixture {
 protected:
  SignsTest() : registry_("coordinator"), metrics_(&registry_) {}
  void SetUp() override {
    options_.inference_servers = {"a:1"};
    options_.model_root = "/models";
    load_model_ = [](const std::string&, const std::string&) { return absl::OkStatus(); };
    Start();
  }
  void ExpectMetrics(const std::vector<std::string>& lines) {
    metrics_.Update(coordinator_->Stats());
    for (const std::string& line : lines)
      EXPECT_THAT(registry_.Text(), HasSubstr(absl::StrCat("\n", line, "\n")));
  }
  void RoundsUntilState(const std::string& id, v1::RunState state) {
    RoundsUntil([&] { return Get(id).state() == state; });
  }

  Registry registry_;
  CoordinatorMetrics metrics_;
};

TEST_F(SignsTest, MetricsTellOfRunsWorkersEpochsAndCheckpoints) {
  const std::string id = Submit(RunYaml("run", 100, 2));
  Rounds(1);
  ExpectMetrics({"tritter_runs{state=\"queued\"} 1",
                 absl::StrCat("tritter_checkpoint_age_seconds{run=\"", id, "\"} 0")});
  AddWorker("w-0");
  FakeAgent* lost = AddWorker("w-1");
  AddWorker("w-2");
  RoundsUntil([&] { return Get(id).committed_step() == 20; });
  ASSERT_OK_AND_ASSIGN(const auto checkpoints, coordinator_->ListCheckpoints(id));
  Rounds(1);
  const double age = static_cast<double>(absl::ToUnixMillis(clock_.Now()) -
                                         checkpoints.checkpoints(0).committed_ms()) /
                     1000;
  EXPECT_GT(age, 0);
  ExpectMetrics({"tritter_runs{state=\"queued\"} 0", "tritter_runs{state=\"running\"} 1",
                 "tritter_workers{state=\"training\"} 2", "tritter_workers{state=\"idle\"} 1",
                 "tritter_epochs_total{reason=\"start\"} 1",
                 "tritter_checkpoint_commits_total{result=\"committed\"} 1",
                 "tritter_checkpoint_commits_total{result=\"failed\"} 0",
                 absl::StrCat("tritter_checkpoint_age_seconds{run=\"", id, "\"} ", age)});
  Kill(lost);
  RoundsUntil([&] { return Get(id).epoch() == 2; });
  ExpectMetrics({"tritter_worker_losses_total{reason=\"stream\"} 1",
                 "tritter_epochs_total{reason=\"loss\"} 1", "tritter_workers{state=\"lost\"} 1"});
  RoundsUntil([&] { return Get(id).step() >= 30; });
  bool fails = true;
  env_.on_rename = [&](const std::string&) {
    if (std::exchange(fails, false)) store_.FailApply(0, StoreFault::kRefuse);
  };
  RoundsUntil([&] { return Get(id).committed_step() == 40; });
  EXPECT_FALSE(fails);
  ExpectMetrics({"tritter_checkpoint_commits_total{result=\"committed\"} 2",
                 "tritter_checkpoint_commits_total{result=\"failed\"} 1"});
  RoundsUntilState(id, v1::RUN_STATE_COMPLETED);
  ExpectMetrics({"tritter_runs{state=\"running\"} 0", "tritter_runs{state=\"completed\"} 1"});
  EXPECT_THAT(registry_.Text(), Not(HasSubstr(id))) << "one that has ended has no series";
}

TEST_F(SignsTest, MetricsTellOfTheStoreAndOfTheLead) {
  metrics_.SetLeads(false);
  EXPECT_THAT(registry_.Text(), HasSubstr("\ntritter_coordinator_leads 0\n"));
  metrics_.SetLeads(true);
  CoordinatorStats stats;
  stats.store_bytes = 4096;
  metrics_.Update(stats);
  EXPECT_THAT(registry_.Text(), HasSubstr("\ntritter_coordinator_leads 1\n"));
  EXPECT_THAT(registry_.Text(), HasSubstr("\ntritter_store_bytes 4096\n"));
  metrics_.SetLeads(false);
  EXPECT_THAT(registry_.Text(), HasSubstr("\ntritter_store_bytes 0\n")) << "another's to show";
}

TEST_F(SignsTest, EveryTurnOfARunsLifeIsAnEvent) {
  FakeAgent* w = AddWorker("w");
  const std::string exported = Submit(RunYaml("base", 30, 1, "export: {format: tpack}\n"));
  RoundsUntilState(exported, v1::RUN_STATE_COMPLETED);
  const std::string served = Submit("job: serve\nof: base\n");
  RoundsUntilState(served, v1::RUN_STATE_COMPLETED);
  const std::string paused = Submit(RunYaml("paused", 1000, 1));
  RoundsUntil([&] { return Get(paused).step() >= 3; });
  ASSERT_OK(coordinator_->Pause(paused));
  RoundsUntilState(paused, v1::RUN_STATE_PAUSED);
  ASSERT_OK(coordinator_->Resume(paused));
  RoundsUntil([&] { return Get(paused).epoch() == 2; });
  ASSERT_OK(coordinator_->Cancel(paused, /*now=*/false));
  RoundsUntilState(paused, v1::RUN_STATE_CANCELLED);
  const std::string failed = Submit(RunYaml("failed", 1000, 1));
  RoundsUntil([&] { return Get(failed).step() >= 3; });
  ASSERT_OK(w->Fail("shard truncated", /*permanent=*/true));
  RoundsUntilState(failed, v1::RUN_STATE_FAILED);
  const std::pair<std::string, std::vector<const char*>> cases[] = {
      {exported,
       {kEventRunSubmitted, kEventEpochFormed, kEventCheckpointCommitted, kEventEpochCompleted,
        kEventRunExporting, kEventRunCompleted, kEventRunReported}},
      {served, {kEventRunDeploying, kEventRunCompleted}},
      {paused,
       {kEventRunPausing, kEventRunPaused, kEventRunResumed, kEventRunCancelling,
        kEventRunCancelled}},
      {failed, {kEventEpochLost, kEventRunFailed}},
  };
  for (const auto& [id, kinds] : cases) {
    for (const char* kind : kinds) EXPECT_THAT(EventKinds(id), Contains(kind)) << Get(id).name();
  }
}

}  // namespace
}  // namespace tritter
