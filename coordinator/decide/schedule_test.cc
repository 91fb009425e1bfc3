#include "coordinator/decide/schedule.h"

#include <gmock/gmock.h>

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

WaitingRun MakeRun(const std::string& id, int64_t priority, int64_t created, int64_t workers) {
  return {id, id, priority, created, {workers, workers}, {}};
}
WorkerView Worker(const std::string& name, Standing standing = Standing::kIdle) {
  return {name, standing, "cpu", 0, "busy-run", "", absl::Minutes(1)};
}

TEST(QueueOrder, PriorityThenAgeThenId) {
  EXPECT_THAT(QueueOrder({MakeRun("d", 0, 5, 1), MakeRun("c", 0, 3, 1), MakeRun("b", 1, 9, 1),
                          MakeRun("a", 0, 5, 1)}),
              ElementsAre(2, 1, 3, 0));
}

TEST(Schedule, ServesTheFirstAndTellsTheOthersWhatIsMissing) {
  const auto p = Schedule({MakeRun("late", 0, 2, 1), MakeRun("early", 0, 1, 1)}, {Worker("w")});
  ASSERT_THAT(p, SizeIs(2));
  EXPECT_EQ(p[0].run_id, "early");
  EXPECT_THAT(p[0].members, ElementsAre(0));
  EXPECT_THAT(p[1].members, IsEmpty());
  EXPECT_EQ(p[1].reason, "needs 1 worker, 0 healthy; w works for early");
}

TEST(Schedule, ARunThatWaitsForBusyWorkersKeepsItsPlace) {
  const auto p = Schedule({MakeRun("big", 0, 1, 2), MakeRun("small", 0, 2, 1)},
                          {Worker("a"), Worker("b", Standing::kBusy)});
  EXPECT_THAT(p[0].members, IsEmpty());
  EXPECT_THAT(p[1].members, IsEmpty());
  EXPECT_EQ(p[1].cause, WaitCause::kBehindOlder);
  EXPECT_THAT(p[1].reason, HasSubstr("waits behind big"));
}

TEST(Schedule, ARunThatAsksForMoreThanThereIsDoesNotBlockOthers) {
  const auto p =
      Schedule({MakeRun("huge", 0, 1, 3), MakeRun("small", 0, 2, 1)}, {Worker("a"), Worker("b")});
  EXPECT_EQ(p[0].reason, "needs 3 workers, 2 healthy");
  EXPECT_THAT(p[1].members, ElementsAre(0));
}

TEST(Schedule, ABlockedRunSaysWhyAndDoesNotBlockOthers) {
  WaitingRun blocked = MakeRun("first", 9, 1, 1);
  blocked.blocked = {WaitCause::kRetryDelay, "tries again in 2.0 s"};
  const auto p = Schedule({blocked, MakeRun("second", 0, 2, 1)}, {Worker("a")});
  EXPECT_EQ(p[0].reason, "tries again in 2.0 s");
  EXPECT_EQ(p[0].cause, WaitCause::kRetryDelay);
  EXPECT_THAT(p[1].members, ElementsAre(0));
}

TEST(Schedule, EveryRunGetsItsMinimumBeforeAnyGetsMore) {
  WaitingRun elastic = MakeRun("elastic", 0, 1, 1), fixed = MakeRun("fixed", 0, 2, 2);
  elastic.needs.max_workers = 4;
  const std::vector<WorkerView> three = {Worker("a"), Worker("b"), Worker("c")};
  auto p = Schedule({elastic, fixed}, three);
  EXPECT_THAT(p[0].members, ElementsAre(0));
  EXPECT_EQ(p[0].reason, "formed of a");
  EXPECT_THAT(p[1].members, ElementsAre(1, 2));
  p = Schedule({elastic, MakeRun("large", 0, 2, 3)}, three);
  EXPECT_THAT(p[0].members, ElementsAre(0, 1, 2)) << "what cannot help the other";
  EXPECT_THAT(p[1].members, IsEmpty());
}

TEST(Schedule, WhatIsLeftGoesInTurnToEqualsAndFirstToHigherPriorities) {
  WaitingRun x = MakeRun("x", 0, 1, 1), y = MakeRun("y", 0, 2, 1);
  x.needs.max_workers = y.needs.max_workers = 5;
  std::vector<WorkerView> six;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) six.push_back(Worker(name));
  auto p = Schedule({x, y}, six);
  EXPECT_THAT(p[0].members, SizeIs(3));
  EXPECT_THAT(p[1].members, SizeIs(3));
  y.priority = 1;
  p = Schedule({x, y}, six);
  EXPECT_EQ(p[0].run_id, "y");
  EXPECT_THAT(p[0].members, SizeIs(5));
  EXPECT_THAT(p[1].members, SizeIs(1));
}

TEST(Schedule, NobodyWaitsWithoutAReasonAndNoWorkerServesTwo) {
  std::vector<WaitingRun> runs;
  std::vector<WorkerView> workers;
  for (int i = 0; i < 20; ++i)
    runs.push_back(MakeRun("r" + std::to_string(i), i % 3, i * 7 % 5, i % 4 + 1));
  for (int i = 0; i < 9; ++i)
    workers.push_back(Worker("w" + std::to_string(i), static_cast<Standing>(i % 5 == 4 ? 4 : 0)));
  std::vector<int> used(workers.size());
  for (const Placement& p : Schedule(runs, workers)) {
    EXPECT_FALSE(p.reason.empty());
    for (const int m : p.members) EXPECT_EQ(used[m]++, 0);
  }
}

}  // namespace
}  // namespace tritter
