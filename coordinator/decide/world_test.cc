#include "coordinator/decide/world.h"

#include <gmock/gmock.h>

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

WorkerView Idle(const std::string& name, absl::Duration since = absl::Minutes(1)) {
  return {name, Standing::kIdle, "cpu avx512", int64_t{4} << 30, "", "", since};
}
WorkerView With(WorkerView w, Standing standing, const std::string& run, const std::string& why,
                absl::Duration since) {
  w.standing = standing;
  w.run_name = run;
  w.why = why;
  w.since = since;
  return w;
}

TEST(FormWorld, RanksByName) {
  const auto d = FormWorld({2, 2}, {Idle("w-1"), Idle("w-0")});
  EXPECT_THAT(d.members, ElementsAre(1, 0));
  EXPECT_EQ(d.reason, "formed of w-0 and w-1");
}

TEST(FormWorld, TakesNoMoreThanMaxWorkers) {
  EXPECT_THAT(FormWorld({1, 2}, {Idle("c"), Idle("b"), Idle("a")}).members, ElementsAre(2, 1));
}

TEST(FormWorld, TakesThoseFirstWhoHoldTheStateAndThoseLastWhoHoldAnothers) {
  WorkerView other = Idle("a"), own = Idle("d");
  other.holds = own.holds = true;
  WorldNeeds needs{1, 2};
  needs.holders = {"d"};
  const std::vector<WorkerView> workers = {other, Idle("b"), Idle("c"), own};
  EXPECT_THAT(FormWorld(needs, workers).members, ElementsAre(1, 3)) << "ranks by name";
  needs.max_workers = 3;
  EXPECT_THAT(FormWorld(needs, workers).members, ElementsAre(1, 2, 3));
  needs.max_workers = 4;
  EXPECT_THAT(FormWorld(needs, workers).members, ElementsAre(0, 1, 2, 3));
}

TEST(FormWorld, AGroupIsOfOneKindAndOfGpusWhereThereAreEnough) {
  WorkerView gpu = Idle("g");
  gpu.device = "cuda:0 NVIDIA H100";
  WorkerView other = gpu;
  other.name = "h";
  const auto d = FormWorld({1, 4}, {Idle("c"), gpu, other});
  EXPECT_THAT(d.members, ElementsAre(1, 2));
  EXPECT_THAT(FormWorld({2, 4}, {Idle("c"), Idle("d"), gpu}).members, ElementsAre(0, 1));
}

TEST(FormWorld, WhoCannotReadTheRunDoesNotServeItNorDecideItsKind) {
  WorkerView g = Idle("g"), h = Idle("h"), gone = Idle("x");
  g.device = h.device = "cuda:0 NVIDIA H100";
  WorldNeeds needs{2, 2};
  needs.cannot_read = {{"g", "g (version 1) cannot read it"}, {"x", "x cannot"}};
  EXPECT_THAT(FormWorld(needs, {g, h, Idle("c"), Idle("d")}).members, ElementsAre(2, 3));
  const auto d = FormWorld(needs, {Idle("c"), g});
  EXPECT_EQ(d.cause, WaitCause::kWorkerTooOld);
  EXPECT_EQ(d.reason, "needs 2 workers: 1 is free; g (version 1) cannot read it");
  EXPECT_FALSE(d.possible);
  gone.standing = Standing::kLost;
  gone.since = absl::Seconds(3);
  EXPECT_EQ(FormWorld(needs, {Idle("c"), gone}).cause, WaitCause::kWorkersLost);
}

WorkerView OfVersion(const std::string& name, const std::string& version) {
  WorkerView w = Idle(name);
  w.version = version;
  return w;
}

TEST(FormWorld, AGroupIsOfOneVersion) {
  const WorkerView a = OfVersion("a", "1"), b = OfVersion("b", "2"), c = OfVersion("c", "1"),
                   d = OfVersion("d", "2"), e = OfVersion("e", "1");
  const WorldNeeds two{2, 2};
  // That of which there are enough, the newest of several, the largest group of all.
  EXPECT_THAT(FormWorld(two, {a, b, c}).members, ElementsAre(0, 2));
  EXPECT_THAT(FormWorld(two, {a, b, c, d}).members, ElementsAre(1, 3));
  EXPECT_THAT(FormWorld(two, {a, b, c, d, e}).members, ElementsAre(1, 3));
  EXPECT_THAT(FormWorld({2, 3}, {a, b, c, d, e}).members, ElementsAre(0, 2, 4));
  EXPECT_THAT(Suitable({2, 3}, {a, b, c, d, e}), ElementsAre(0, 2, 4));
  EXPECT_THAT(FormWorld({1, 1}, {a, b}).members, ElementsAre(0)) << "alone, any will do";
  const auto mixed = FormWorld(two, {a, b});
  EXPECT_EQ(mixed.cause, WaitCause::kMixedVersions);
  EXPECT_EQ(mixed.reason,
            "needs 2 workers: 1 is free; a is of version 1, the group of 2; a group is of one "
            "version: update the older ones");
  EXPECT_FALSE(mixed.possible);
  // After a restart of the coordinator, until it says what it is.
  WorkerView connecting = OfVersion("w", "");
  connecting.standing = Standing::kLeaving;
  EXPECT_EQ(FormWorld(two, {a, connecting}).cause, WaitCause::kWorkersLeaving);
}

TEST(FormWorld, WhoLeftAsItWasToldIsNotWaitedFor) {
  WorkerView w = Idle("w", absl::Seconds(3));
  w.standing = Standing::kLost;
  w.left = true;
  w.why = "left, as it was told to";
  const auto d = FormWorld({2, 2}, {Idle("v"), w});
  EXPECT_EQ(d.cause, WaitCause::kTooFewWorkers);
  EXPECT_THAT(d.reason,
              HasSubstr("1 is free; w left 3 s ago; start 1 more, or lower workers.min to 1"));
}

TEST(FormWorld, OfAnyDeviceAGroupIsOfGpusFirstAndThenOfCpus) {
  WorkerView g = Idle("g"), h = Idle("h"), c = Idle("c"), d = Idle("d");
  g.device = h.device = "cuda:0 NVIDIA H100";
  const std::vector<WorkerView> workers = {c, d, g, h};
  struct Case {
    int64_t min, max;
    std::vector<int> members;
    const char* reason;
  };
  const Case cases[] = {
      {1, 1, {2}, "formed of g"},
      {1, 2, {2, 3}, "formed of g and h"},
      {1, 3, {0, 2, 3}, "formed of c (cpu), g (cuda:0) and h (cuda:0)"},
      {4, 4, {0, 1, 2, 3}, "formed of c (cpu), d (cpu), g (cuda:0) and h (cuda:0)"},
  };
  for (const Case& k : cases) {
    const auto decision = FormWorld({k.min, k.max, "any"}, workers);
    EXPECT_THAT(decision.members, testing::ElementsAreArray(k.members)) << k.max;
    EXPECT_EQ(decision.reason, k.reason);
  }
  EXPECT_THAT(FormWorld({1, 2, "any"}, {c, d}).members, ElementsAre(0, 1));
  WorldNeeds last{1, 3, "any"};
  last.gpus_last = true;
  EXPECT_THAT(FormWorld(last, workers).preferred, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(FormWorld({5, 5, "any"}, workers).cause, WaitCause::kTooFewWorkers);
  EXPECT_THAT(Suitable({1, 1, "any"}, workers), ElementsAre(0, 1, 2, 3));
}

TEST(FormWorld, OfAnyDeviceAGpuGoesBeforeACpuThatHoldsTheState) {
  WorkerView g = Idle("g"), c = Idle("c");
  g.device = "cuda:0 NVIDIA H100";
  c.holds = true;
  WorldNeeds needs{1, 1, "any"};
  needs.holders = {"c"};
  EXPECT_THAT(FormWorld(needs, {c, g}).members, ElementsAre(1));
}

TEST(FormWorld, ARunThatGpusDoNotTrainGoesToCpus) {
  RunSpec spec;
  spec.model.head_dim = 512;
  const WorldNeeds needs = NeedsOf(spec, 0);
  EXPECT_EQ(needs.not_on_cuda, "model.head_dim is 512, at most 256 on a GPU");
  WorkerView gpu = Idle("g");
  gpu.device = "cuda:0 NVIDIA H100";
  EXPECT_THAT(FormWorld(needs, {gpu, Idle("c")}).members, ElementsAre(1));
  EXPECT_EQ(FormWorld(needs, {gpu}).reason,
            "needs 1 worker: none is free; g is a cuda:0 worker, GPUs do not train the run: "
            "model.head_dim is 512, at most 256 on a GPU");
  spec.model.head_dim = 256;
  EXPECT_THAT(FormWorld(NeedsOf(spec, 0), {gpu, Idle("c")}).members, ElementsAre(0));
}

TEST(FormWorld, CpusAndGpusFormNoGroupTogether) {
  WorkerView gpu = Idle("g");
  gpu.device = "cuda:0 NVIDIA H100";
  auto d = FormWorld({2, 2}, {gpu, Idle("c")});
  EXPECT_THAT(d.members, IsEmpty());
  EXPECT_EQ(d.cause, WaitCause::kMixedDevices);
  EXPECT_EQ(d.reason,
            "needs 2 workers: 1 is free; g is a cuda:0 worker, the group is of cpu; with `auto` "
            "a group is of one kind: say `workers.device: any` to let CPUs and GPUs train "
            "together");
  d = FormWorld({3, 3}, {gpu, Idle("c")});
  EXPECT_EQ(d.cause, WaitCause::kTooFewWorkers) << "together they would not do either";
  d = FormWorld({2, 2, "cpu"}, {gpu, Idle("c")});
  EXPECT_EQ(d.cause, WaitCause::kWrongDevice) << "the run asks for CPUs";
}

TEST(FormWorld, SaysThatNobodyIsRegistered) {
  const auto d = FormWorld({2, 2}, {});
  EXPECT_THAT(d.members, IsEmpty());
  EXPECT_FALSE(d.possible);
  EXPECT_EQ(d.cause, WaitCause::kNoWorkers);
  EXPECT_EQ(d.reason, "needs 2 workers, none is registered");
}

TEST(FormWorld, NamesTheLostWorkerAndWhen) {
  const auto d = FormWorld(
      {2, 2}, {Idle("worker-a"), With(Idle("worker-b"), Standing::kLost, "",
                                      "its process died or was cut off", absl::Seconds(41))});
  EXPECT_THAT(d.members, IsEmpty());
  EXPECT_FALSE(d.possible);
  EXPECT_EQ(d.reason,
            "needs 2 workers: 1 is free; worker-b was lost 41 s ago (its process died or was cut "
            "off); one must come back, "
            "or another be started");
}

struct ObstacleCase {
  WorkerView worker;
  WorldNeeds needs;
  std::string reason;
  bool possible;
  WaitCause cause;
};

TEST(FormWorld, NamesEveryKindOfObstacle) {
  const ObstacleCase cases[] = {
      {With(Idle("w"), Standing::kBusy, "other", "", absl::Seconds(1)),
       {1, 1},
       ", w works for run other; it can start when w is free",
       true,
       WaitCause::kWorkersBusy},
      {With(Idle("w"), Standing::kLeaving, "other", "", absl::Seconds(1)),
       {1, 1},
       "; w is still leaving other",
       true,
       WaitCause::kWorkersLeaving},
      {With(Idle("w"), Standing::kLeaving, "", "", absl::Seconds(1)),
       {1, 1},
       "; w is connecting",
       true,
       WaitCause::kWorkersLeaving},
      {With(Idle("w"), Standing::kDraining, "", "", absl::Seconds(1)),
       {1, 1},
       "; w is draining; start 1 more",
       false,
       WaitCause::kWorkersDraining},
      {Idle("w"),
       {1, 1, "cuda"},
       "; w is a cpu worker, the run asks for cuda",
       false,
       WaitCause::kWrongDevice},
      {Idle("w"),
       {1, 1, "auto", int64_t{8} << 30},
       "; w has 4.0 GiB, the run needs 8.0 GiB",
       false,
       WaitCause::kTooLittleMemory},
  };
  for (const ObstacleCase& c : cases) {
    const auto d = FormWorld(c.needs, {c.worker});
    EXPECT_THAT(d.members, IsEmpty()) << c.reason;
    EXPECT_EQ(d.reason, "needs 1 worker: none is free" + c.reason);
    EXPECT_EQ(d.possible, c.possible) << c.reason;
    EXPECT_EQ(d.cause, c.cause) << c.reason;
  }
}

// Whoever works is healthy, and is not to be replaced by one that is started.
TEST(FormWorld, BusyWorkersAreToldApartFromMissingOnes) {
  const auto busy = [](const std::string& name, const std::string& run) {
    WorkerView w = With(Idle(name), Standing::kBusy, run, "", absl::Seconds(1));
    w.run_id = "r-" + run;
    return w;
  };
  const std::vector<WorkerView> two = {busy("a", "x"), busy("b", "x")};
  EXPECT_EQ(FormWorld({2, 2}, two).reason,
            "needs 2 workers: none is free, 2 healthy ones (a and b) work for run x (r-x); it can "
            "start when they are free");
  EXPECT_EQ(FormWorld({3, 3}, two).reason,
            "needs 3 workers: none is free, 2 healthy ones (a and b) work for run x (r-x); with "
            "those that work 1 is missing: start 1 more, or lower workers.min to 2");
  EXPECT_EQ(FormWorld({2, 2}, {Idle("a"), busy("b", "x"), busy("c", "y")}).reason,
            "needs 2 workers: 1 is free, b works for run x (r-x), c works for run y (r-y); it can "
            "start when 1 of them is free");
  EXPECT_EQ(
      FormWorld({3, 3}, {Idle("a"), busy("b", "x"),
                         With(Idle("c"), Standing::kLost, "", "", absl::Seconds(5))})
          .reason,
      "needs 3 workers: 1 is free, b works for run x (r-x); c was lost 5 s ago; one must come "
      "back, or another be started");
}

TEST(FormWorld, TheCauseIsTheNearestObstacleWhoseEndWouldDo) {
  const WorkerView busy = With(Idle("b"), Standing::kBusy, "x", "", absl::Seconds(1)),
                   lost = With(Idle("l"), Standing::kLost, "", "", absl::Seconds(1)),
                   leaving = With(Idle("e"), Standing::kLeaving, "x", "", absl::Seconds(1));
  EXPECT_EQ(FormWorld({2, 2}, {Idle("i"), busy, lost}).cause, WaitCause::kWorkersBusy);
  EXPECT_EQ(FormWorld({3, 3}, {Idle("i"), busy, lost}).cause, WaitCause::kWorkersLost);
  EXPECT_EQ(FormWorld({2, 2}, {Idle("i"), busy, leaving}).cause, WaitCause::kWorkersLeaving);
  EXPECT_THAT(
      FormWorld({4, 4}, {Idle("i"), busy, lost}).reason,
      HasSubstr("; with those that work 2 are missing: start 2 more, or lower workers.min to 2"));
  EXPECT_EQ(FormWorld({4, 4}, {Idle("i"), busy, lost}).cause, WaitCause::kTooFewWorkers);
  EXPECT_EQ(FormWorld({1, 1}, {Idle("i"), busy, lost}).cause, WaitCause::kNone);
  // One that would not do when it came back is no reason to wait for it.
  WorkerView other_kind = lost;
  other_kind.device = "cuda:0";
  EXPECT_EQ(FormWorld({1, 1, "cpu"}, {other_kind}).cause, WaitCause::kTooFewWorkers);
}

TEST(FormWorld, WaitsAMomentForMoreThanTheMinimum) {
  const auto early = FormWorld({1, 2}, {Idle("w", absl::Milliseconds(500))});
  EXPECT_THAT(early.members, IsEmpty());
  EXPECT_TRUE(early.possible);
  EXPECT_EQ(early.cause, WaitCause::kSettling);
  EXPECT_THAT(early.reason, HasSubstr("waits 1.5 s for more"));
  EXPECT_THAT(FormWorld({1, 2}, {Idle("w", absl::Seconds(2))}).members, ElementsAre(0));
  EXPECT_THAT(FormWorld({1, 1}, {Idle("w", absl::ZeroDuration())}).members, ElementsAre(0));
}

TEST(FormWorld, WaitsForThoseWhoAreOnTheirWayOutOfAnEpoch) {
  const auto leaves = [](absl::Duration since) {
    return With(Idle("a"), Standing::kLeaving, "run", "", since);
  };
  const auto d = FormWorld({1, 2}, {leaves(absl::Seconds(1)), Idle("b")});
  EXPECT_THAT(d.members, IsEmpty());
  EXPECT_EQ(d.cause, WaitCause::kWorkersLeaving);
  EXPECT_EQ(d.reason, "of up to 2 workers 1 is free; a is still leaving run; waits for more");
  EXPECT_THAT(FormWorld({1, 2}, {leaves(absl::Seconds(5)), Idle("b")}).members, ElementsAre(1));
  EXPECT_THAT(FormWorld({1, 1}, {leaves(absl::Seconds(1)), Idle("b")}).members, ElementsAre(1));
  WorkerView gpu = leaves(absl::Seconds(1));
  gpu.device = "cuda:0";
  EXPECT_THAT(FormWorld({1, 2, "cpu"}, {gpu, Idle("b")}).members, ElementsAre(1));
}

TEST(FormWorld, KeepsTheReasonShortWithManyWorkers) {
  std::vector<WorkerView> many;
  for (int i = 0; i < 50; ++i) {
    many.push_back(With(Idle("w" + std::to_string(i)), Standing::kBusy, "x", "", absl::Seconds(1)));
  }
  const auto d = FormWorld({1, 1}, many);
  EXPECT_EQ(d.reason,
            "needs 1 worker: none is free, 50 healthy ones work for run x; it can start when 1 of "
            "them is free");
  for (size_t i = 0; i < many.size(); ++i) many[i].run_name = "r" + std::to_string(i);
  EXPECT_THAT(FormWorld({1, 1}, many).reason, HasSubstr(", 47 more for other runs; "));
  for (WorkerView& w : many) w.standing = Standing::kDraining;
  const std::string others = FormWorld({1, 1}, many).reason;
  EXPECT_THAT(others, HasSubstr("44 more"));
  EXPECT_LT(others.size(), 250u);
}

}  // namespace
}  // namespace tritter
