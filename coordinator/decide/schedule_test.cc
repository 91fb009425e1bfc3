#include "coordinator/decide/schedule.h"

#include <gmock/gmock.h>

#include <map>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

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

TEST(Schedule, ServesTheFirstAndTellsTheOthersWhatIsMissing) {
  const auto p = Schedule({MakeRun("late", 0, 2, 1), MakeRun("early", 0, 1, 1)}, {Worker("w")});
  ASSERT_THAT(p, SizeIs(2));
  EXPECT_EQ(p[0].run_id, "early");
  EXPECT_THAT(p[0].members, ElementsAre(0));
  EXPECT_THAT(p[1].members, IsEmpty());
  EXPECT_EQ(
      p[1].reason,
      "needs 1 worker: none is free, w works for run early (early); it can start when w is free");
}

TEST(Schedule, ARunThatWaitsForBusyWorkersKeepsItsPlace) {
  const auto p = Schedule({MakeRun("big", 0, 1, 2), MakeRun("small", 0, 2, 1)},
                          {Worker("a"), Worker("b", Standing::kBusy)});
  EXPECT_THAT(p[0].members, IsEmpty());
  EXPECT_THAT(p[1].members, IsEmpty());
  EXPECT_EQ(p[1].cause, WaitCause::kBehindOlder);
  EXPECT_THAT(p[1].reason, HasSubstr("waits behind big"));
}

TEST(Schedule, ARunWhoseEpochWasLostGoesOnBeforeAnOlderOne) {
  WaitingRun lost = MakeRun("lost", 0, 2, 2);
  lost.interrupted = true;
  const WaitingRun older = MakeRun("older", 0, 1, 1);
  auto p = Schedule({older, lost}, {Worker("a"), Worker("b")});
  EXPECT_EQ(p[0].run_id, "lost");
  EXPECT_THAT(p[0].members, ElementsAre(0, 1));
  EXPECT_THAT(p[1].members, IsEmpty());
  p = Schedule({older, lost}, {Worker("a"), Worker("b", Standing::kBusy)});
  EXPECT_EQ(p[1].reason,
            "waits behind lost (lost, priority 0), which goes on first: its epoch was lost");
  p = Schedule({older, lost}, {Worker("a"), Worker("b", Standing::kLost)});
  EXPECT_THAT(p[1].members, ElementsAre(0)) << "it cannot go on: nobody waits for that";
}

TEST(Schedule, ARunThatAsksForMoreThanThereIsDoesNotBlockOthers) {
  const auto p =
      Schedule({MakeRun("huge", 0, 1, 3), MakeRun("small", 0, 2, 1)}, {Worker("a"), Worker("b")});
  EXPECT_EQ(p[0].reason, "needs 3 workers: 2 are free; start 1 more, or lower workers.min to 2");
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

WaitingRun Of(const std::string& project, WaitingRun run) {
  run.project = project;
  return run;
}

TEST(Schedule, AYoungerRunOfAProjectBelowItsShareIsServedFirst) {
  const std::vector<WaitingRun> runs = {Of("p", MakeRun("older", 0, 1, 1)),
                                        Of("q", MakeRun("younger", 0, 2, 1))};
  ProjectShares shares;
  shares.used = {{"p", 2}, {"q", 1}};
  std::vector<WorkerView> workers = {Worker("a"), Worker("b", Standing::kBusy),
                                     Worker("c", Standing::kBusy), Worker("d", Standing::kBusy)};
  auto p = Schedule(runs, workers, {}, shares);
  EXPECT_EQ(p[0].run_id, "younger");
  EXPECT_THAT(p[0].members, ElementsAre(0));
  EXPECT_EQ(p[1].cause, WaitCause::kWorkersBusy);
  shares.weights = {{"p", 3}};  // 2 of 3 parts against 1 of 1
  EXPECT_EQ(Schedule(runs, workers, {}, shares)[0].run_id, "older");
}

TEST(Schedule, WhoIsBehindAnotherProjectSaysByHowMuch) {
  ProjectShares shares;
  shares.used = {{"p", 3}};
  std::vector<WorkerView> workers = {Worker("a"), Worker("b", Standing::kBusy),
                                     Worker("c", Standing::kBusy), Worker("d", Standing::kBusy)};
  const auto p =
      Schedule({Of("p", MakeRun("older", 0, 1, 1)), Of("p", MakeRun("large", 0, 1, 2)),
                Of("p", MakeRun("urgent", 1, 9, 4)), Of("q", MakeRun("younger", 0, 2, 2))},
               workers, {}, shares);
  ASSERT_THAT(p, SizeIs(4));
  EXPECT_EQ(p[0].run_id, "urgent");
  EXPECT_EQ(p[0].cause, WaitCause::kWorkersBusy);
  EXPECT_EQ(p[1].run_id, "younger");
  EXPECT_EQ(p[1].cause, WaitCause::kWorkersBusy) << p[1].reason;
  EXPECT_EQ(p[3].cause, WaitCause::kBehindPriority) << p[3].reason;
  const auto q = Schedule({Of("p", MakeRun("older", 0, 1, 1)), Of("p", MakeRun("wide", 0, 1, 2)),
                           Of("q", MakeRun("younger", 0, 2, 2))},
                          workers, {}, shares);
  EXPECT_EQ(q[0].run_id, "younger");
  EXPECT_EQ(q[1].cause, WaitCause::kBehindShare);
  EXPECT_EQ(q[1].reason,
            "project p uses 3 of 4 workers, its share is 2; younger (younger) of project q, which "
            "uses 0, "
            "is ahead");
  EXPECT_EQ(q[2].cause, WaitCause::kWorkersBusy) << "it lacks workers besides";
  EXPECT_THAT(q[2].reason, HasSubstr("its share is 2; younger (younger) of project q"));
}

TEST(Schedule, ProjectsTakeTurnsHoweverManyRunsTheyHave) {
  std::vector<WaitingRun> runs;
  for (int i = 0; i < 6; ++i) runs.push_back(Of("many", MakeRun(absl::StrCat("m", i), 0, i, 1)));
  runs.push_back(Of("one", MakeRun("o", 0, 100, 1)));
  runs.push_back(Of("huge", MakeRun("h0", 0, 101, 9)));  // more than there are: takes nothing
  runs.push_back(Of("huge", MakeRun("h1", 0, 102, 1)));
  std::vector<std::string> served;
  for (const Placement& p : Schedule(runs, {Worker("a"), Worker("b"), Worker("c"), Worker("d")})) {
    if (!p.members.empty()) served.push_back(p.run_id);
  }
  EXPECT_THAT(served, ElementsAre("m0", "o", "h1", "m1"));
}

TEST(Schedule, WhatIsLeftGoesToTheProjectOfTheLeastLoad) {
  WaitingRun x = Of("p", MakeRun("x", 0, 1, 1)), y = Of("p", MakeRun("y", 0, 2, 1)),
             z = Of("q", MakeRun("z", 0, 3, 1));
  x.needs.max_workers = y.needs.max_workers = z.needs.max_workers = 8;
  std::vector<WorkerView> eight;
  for (int i = 0; i < 8; ++i) eight.push_back(Worker(absl::StrCat("w", i)));
  std::map<std::string, size_t> workers;
  for (const Placement& p : Schedule({x, y, z}, eight)) workers[p.run_id] = p.members.size();
  EXPECT_EQ(workers["x"], 2u);
  EXPECT_EQ(workers["y"], 2u);
  EXPECT_EQ(workers["z"], 4u);
}

// It stopped to give one up, or to let one go: what it has not written is in these.
TEST(Schedule, AGroupThatStoppedKeepsThoseWhoHaveItsStateForAMoment) {
  WaitingRun stopped = MakeRun("stopped", 0, 1, 2), urgent = MakeRun("urgent", 5, 2, 2);
  stopped.needs.holders = {"a", "b", "c"};
  const auto members = [&](const std::vector<WorkerView>& workers) {
    std::map<std::string, std::vector<int>> out;
    for (const Placement& p : Schedule({stopped, urgent}, workers)) out[p.run_id] = p.members;
    return out;
  };
  const std::vector<WorkerView> three = {Worker("a"), Worker("b"), Worker("c")};
  EXPECT_THAT(members(three)["urgent"], ElementsAre(0, 1));
  stopped.keeps_holders = true;
  EXPECT_THAT(members(three)["stopped"], ElementsAre(0, 1));
  EXPECT_THAT(members(three)["urgent"], IsEmpty());
  stopped.needs.max_workers = 3;
  EXPECT_THAT(members(three)["stopped"], ElementsAre(0, 1))
      << "the other has half of what it needs";
  const std::vector<WorkerView> four = {Worker("a"), Worker("b"), Worker("c"), Worker("d")};
  EXPECT_THAT(members(four)["urgent"], ElementsAre(2, 3)) << "no more than it needs at least";
  // One that is not free yet is waited for, and the other kept.
  std::vector<WorkerView> leaving = {Worker("a"), Worker("b", Standing::kLeaving), Worker("d")};
  leaving[1].run_name = "stopped";
  EXPECT_THAT(members(leaving)["urgent"], IsEmpty());
  EXPECT_THAT(members(leaving)["stopped"], IsEmpty()) << "d is no holder: the other waits for it";
}

// Two groups give up one each: whichever stops first, neither takes its own back.
TEST(Schedule, WhatGroupsGaveUpGathersForTheRunThatWaits) {
  WaitingRun large = MakeRun("large", 0, 1, 2), small = MakeRun("small", 0, 2, 1),
             urgent = MakeRun("urgent", 5, 3, 2);
  large.needs.max_workers = 3;
  large.needs.holders = {"w1", "w2", "w3"};
  small.needs.max_workers = 2;
  small.needs.holders = {"w4", "w5"};
  large.keeps_holders = small.keeps_holders = true;
  const auto members = [&](const WaitingRun& stopped, const std::vector<std::string>& busy) {
    std::vector<WorkerView> workers;
    for (const char* name : {"w1", "w2", "w3", "w4", "w5"})
      workers.push_back(
          Worker(name, absl::c_linear_search(busy, name) ? Standing::kBusy : Standing::kIdle));
    std::map<std::string, std::vector<int>> out;
    for (const Placement& p : Schedule({stopped, urgent}, workers)) out[p.run_id] = p.members;
    return out;
  };
  auto got = members(large, {"w4", "w5"});
  EXPECT_THAT(got["large"], ElementsAre(0, 1));
  EXPECT_THAT(got["urgent"], IsEmpty());
  got = members(small, {"w1", "w2"});
  EXPECT_THAT(got["small"], ElementsAre(3));
  EXPECT_THAT(got["urgent"], ElementsAre(2, 4));
  got = members(small, {"w1", "w2", "w3"});
  EXPECT_THAT(got["small"], ElementsAre(3));
  EXPECT_THAT(got["urgent"], IsEmpty());
}

// Else a group that had given one up for the other would take it again.
TEST(Schedule, WhoMayHaveEitherLeavesGpusToThoseWhoUseNothingElse) {
  WaitingRun either = MakeRun("either", 0, 1, 1), gpus = MakeRun("gpus", 0, 2, 1);
  either.needs.device = "any";
  either.needs.max_workers = 2;
  gpus.needs.device = "cuda";
  WorkerView gpu = Worker("g");
  gpu.device = "cuda:0 A";
  const std::vector<WorkerView> workers = {Worker("c"), gpu};
  std::map<std::string, std::vector<int>> members;
  for (const Placement& p : Schedule({either, gpus}, workers)) members[p.run_id] = p.members;
  EXPECT_THAT(members["either"], ElementsAre(0));
  EXPECT_THAT(members["gpus"], ElementsAre(1));
  either.priority = 1;
  either.needs.max_workers = 1;
  for (const Placement& p : Schedule({either, gpus}, workers)) members[p.run_id] = p.members;
  EXPECT_THAT(members["either"], ElementsAre(1)) << "the more urgent one chooses";
}

TEST(Schedule, ARunForMoreGpusThanThereAreDrivesNobodyFromThem) {
  WaitingRun either = MakeRun("either", 0, 1, 1), gpus = MakeRun("gpus", 0, 2, 4);
  either.needs.device = "any";
  gpus.needs.device = "cuda";
  std::vector<WorkerView> workers = {Worker("c"), Worker("g0"), Worker("g1")};
  workers[1].device = workers[2].device = "cuda:0 A";
  std::map<std::string, std::vector<int>> members;
  for (const Placement& p : Schedule({either, gpus}, workers)) members[p.run_id] = p.members;
  EXPECT_THAT(members["either"], ElementsAre(1));
  EXPECT_THAT(members["gpus"], IsEmpty());
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
