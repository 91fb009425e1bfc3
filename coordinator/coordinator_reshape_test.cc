// Groups that are formed anew for other runs, and with workers that have come.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "coordinator/testing/coordinator_fixture.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

constexpr char kRareCheckpoints[] = "checkpoint: {every: 1000000}\n";

class ReshapeTest : public CoordinatorFixture {
 protected:
  void SetUp() override {
    agents_yield_ = true;
    Start();
  }
  std::string Yaml(const std::string& name, int64_t priority, int min, int max,
                   int64_t steps = 100000) {
    std::string yaml = RunYaml(name, steps, min, kRareCheckpoints);
    const std::string was = absl::StrCat("max: ", min);
    yaml.replace(yaml.find(was), was.size(), absl::StrCat("max: ", max));
    return absl::StrCat("priority: ", priority, "\n", yaml);
  }
  std::string Reasons(const std::string& id) {
    v1::ListEventsRequest request;
    request.set_run(id);
    std::string out;
    const absl::StatusOr<v1::ListEventsResponse> events = coordinator_->ListEvents(request);
    EXPECT_OK(events);
    if (!events.ok()) return out;
    for (const v1::Event& e : events->events())
      absl::StrAppend(&out, e.kind(), ": ", e.message(), "\n");
    return out;
  }
};

TEST_F(ReshapeTest, AnUrgentRunTakesTheWorkersAndTheOtherGoesOnAfterwardsWithNoLostStep) {
  const std::string low = Submit(Yaml("low", 0, 2, 2));
  AddWorker("w-0");
  AddWorker("w-1");
  RoundsUntil([&] { return Get(low).step() >= 60; });
  const std::string urgent = Submit(Yaml("urgent", 5, 2, 2, 20));
  RoundsUntil([&] { return Get(urgent).step() > 0; }, 40);
  EXPECT_EQ(Get(low).members_size(), 0);
  EXPECT_EQ(Get(low).state(), v1::RUN_STATE_RUNNING);
  EXPECT_EQ(Get(low).epochs_lost(), 0);
  const int64_t at = Get(low).committed_step();
  EXPECT_GE(at, 60) << "its state is on disk";
  EXPECT_THAT(Reasons(low),
              HasSubstr(absl::StrCat("gives its 2 workers to urgent (", urgent, ", priority 5)")));
  EXPECT_THAT(Get(low).reason(), HasSubstr(absl::StrCat("work for run urgent (", urgent, ")")));
  RoundsUntil([&] { return Get(urgent).state() == v1::RUN_STATE_COMPLETED; });
  RoundsUntil([&] { return Get(low).step() > at + 5; });
  EXPECT_EQ(live_[0]->assignments().back().second, at);
}

TEST_F(ReshapeTest, AnElasticRunShrinksForAnotherAndGrowsAgainFromMemory) {
  const std::string elastic = Submit(Yaml("elastic", 0, 1, 3));
  for (const char* name : {"w-0", "w-1", "w-2"}) AddWorker(name);
  RoundsUntil([&] { return Get(elastic).step() >= 60; });
  ASSERT_THAT(Get(elastic).members(), SizeIs(3));
  const std::string second = Submit(Yaml("second", 0, 1, 1, 200));
  RoundsUntil([&] { return Get(second).step() > 0 && Get(elastic).members_size() == 2; }, 60);
  EXPECT_THAT(Reasons(elastic), HasSubstr("shrinks from 3 workers"));
  EXPECT_EQ(Get(elastic).committed_step(), 0) << "no checkpoint was needed for that";
  RoundsUntil([&] { return Get(second).state() == v1::RUN_STATE_COMPLETED; });
  RoundsUntil([&] { return Get(elastic).members_size() == 3; }, 300);
  EXPECT_EQ(Get(elastic).epoch(), 3u);
  EXPECT_THAT(Reasons(elastic), HasSubstr("takes in w-"));
  EXPECT_EQ(Get(elastic).epochs_lost(), 0);
  const int64_t step = Get(elastic).step();
  RoundsUntil([&] { return Get(elastic).step() > step + 5; });
  v1::ListMetricsRequest request;
  request.set_run(elastic);
  request.set_limit(5000);
  ASSERT_OK_AND_ASSIGN(const auto metrics, coordinator_->ListMetrics(request));
  for (int i = 0; i < metrics.steps_size(); ++i) ASSERT_EQ(metrics.steps(i).step(), i + 1);
}

TEST_F(ReshapeTest, ALateWorkerIsTakenIn) {
  const std::string id = Submit(Yaml("run", 0, 1, 2));
  FakeAgent* first = AddWorker("w-1");
  RoundsUntil([&] { return Get(id).step() >= 60; });
  FakeAgent* late = AddWorker("w-0");
  RoundsUntil([&] { return !late->assigned().empty(); }, 300);
  EXPECT_TRUE(late->assigned().back().from_memory());
  EXPECT_EQ(late->assigned().back().state_rank(), 1);
  EXPECT_EQ(late->assigned().back().start_step(), static_cast<int64_t>(first->trained().size()));
  EXPECT_THAT(Get(id).reason(), HasSubstr("formed of w-0 and w-1 trains from step "));
}

// Workers that do not know how to stop inside a plan: at its end, with a checkpoint.
TEST_F(ReshapeTest, WithOlderWorkersTheEndOfAPlanIsWaitedFor) {
  agents_yield_ = false;
  const std::string low = Submit(Yaml("low", 0, 1, 1));
  FakeAgent* w = AddWorker("w");
  RoundsUntil([&] { return Get(low).step() >= 30; });
  const int64_t end = w->plan()->end_step();
  const std::string urgent = Submit(Yaml("urgent", 1, 1, 1));
  RoundsUntil([&] { return Get(urgent).step() > 0; }, 500);
  EXPECT_EQ(Get(low).committed_step(), end + 1);
}

}  // namespace
}  // namespace tritter
