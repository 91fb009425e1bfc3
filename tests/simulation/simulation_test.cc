#include "tests/simulation/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "common/log.h"

namespace tritter::simulation {
namespace {

using ::testing::ContainsRegex;

// The promise that broke, and what led to it.
std::string Explain(uint64_t seed, SimulationOptions options) {
  options.trace = true;
  const SimulationResult again = Simulate(seed, options);
  constexpr size_t kShown = 60;
  const size_t first = again.trace.size() - std::min(again.trace.size(), kShown);
  return absl::StrCat("seed ", seed, ": ", again.broken, "\n",
                      absl::StrJoin(absl::MakeSpan(again.trace).subspan(first), "\n"),
                      "\nwhole: bazel run //tests/simulation:simulate -- --trace --seed=", seed);
}

SimulationResult Hold(uint64_t first, int seeds, const SimulationOptions& options) {
  SimulationResult sum;
  for (uint64_t seed = first; seed < first + static_cast<uint64_t>(seeds); ++seed) {
    const SimulationResult r = Simulate(seed, options);
    sum.failures += r.failures;
    sum.epochs_lost += r.epochs_lost;
    sum.epochs_mixed += r.epochs_mixed;
    sum.runs_completed += r.runs_completed;
    sum.steps += r.steps;
    sum.samples_committed += r.samples_committed;
    if (r.broken.empty()) continue;
    ADD_FAILURE() << Explain(seed, options);
    break;
  }
  std::printf(
      "%d seeds: %ld failures made, %ld epochs lost, %ld of CPUs and GPUs, %ld runs completed, "
      "%ld steps\n",
      seeds, static_cast<long>(sum.failures), static_cast<long>(sum.epochs_lost),
      static_cast<long>(sum.epochs_mixed), static_cast<long>(sum.runs_completed),
      static_cast<long>(sum.steps));
  return sum;
}

// Sanitizers look for what a step does to memory, not for what a rare order of steps decides: a
// part of the seeds, at twenty times the cost each.
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
constexpr int kShare = 10;
#else
constexpr int kShare = 1;
#endif

// A thousand seeds, in parts that run beside each other.
class SeedsTest : public testing::TestWithParam<int> {};

TEST_P(SeedsTest, EveryPromiseHolds) {
  constexpr int kPart = 250, kSeeds = kPart / kShare;
  const SimulationResult sum = Hold(static_cast<uint64_t>(1 + GetParam() * kPart), kSeeds, {});
  if (kShare > 1) return;
  // It is a storm: what it proves rests on these.
  EXPECT_GT(sum.failures, 1250);
  EXPECT_GT(sum.epochs_lost, 150);
  EXPECT_GT(sum.epochs_mixed, 25);
  EXPECT_GT(sum.runs_completed, 250);
  EXPECT_GT(sum.samples_committed, 25000);
}

INSTANTIATE_TEST_SUITE_P(Simulation, SeedsTest, testing::Range(0, 4));

TEST(Simulation, EveryPromiseHoldsWithRecordsInSqlite) {
  const std::string folder = std::filesystem::exists("/dev/shm") ? "/dev/shm" : testing::TempDir();
  constexpr int kSeeds = 40 / kShare;
  const SimulationResult sum =
      Hold(1, kSeeds, {.weather = Weather::kStorm, .sqlite_folder = folder});
  EXPECT_GT(sum.epochs_lost, kShare > 1 ? 0 : kSeeds);
}

// Where nobody dies no epoch is lost and no step is trained twice.
TEST(Simulation, EveryPromiseHoldsInCalmWeather) {
  const SimulationResult sum = Hold(1, 300 / kShare, {.weather = Weather::kCalm});
  EXPECT_EQ(sum.failures, 0);
}

TEST(Simulation, OneSeedIsOneHistory) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const SimulationResult once = Simulate(seed, {.trace = true});
    const SimulationResult again = Simulate(seed, {.trace = true});
    ASSERT_GT(once.trace.size(), 20u) << seed;
    ASSERT_EQ(once.trace, again.trace) << seed;
    ASSERT_EQ(once.events, again.events) << seed;
  }
}

// Each broke a promise once; docs/bugs.md tells how.
struct NamedSeed {
  const char* name;
  uint64_t seed;
  Weather weather = Weather::kMixed;
};

class NamedSeedTest : public testing::TestWithParam<NamedSeed> {};

TEST_P(NamedSeedTest, KeepsEveryPromise) {
  const SimulationOptions options = {.weather = GetParam().weather};
  const SimulationResult r = Simulate(GetParam().seed, options);
  EXPECT_EQ(r.broken, "") << Explain(GetParam().seed, options);
}

INSTANTIATE_TEST_SUITE_P(
    Simulation, NamedSeedTest,
    testing::Values(NamedSeed{"ReportOfAnEndedEpochCountedTwice", 29},
                    NamedSeed{"FinishedEpochLostWithTheCoordinator", 46},
                    NamedSeed{"FinishedEpochLostThoughItsMemberCameBack", 2623},
                    NamedSeed{"EpochStoredButNotConfirmedLivedOn", 58},
                    NamedSeed{"PreemptedEpochLostWithTheCoordinator", 3},
                    NamedSeed{"EndThatTheStoreRefusedForgotten", 479},
                    NamedSeed{"DoneMemberJoinedAnotherRun", 2685},
                    NamedSeed{"DoneMemberIsAnotherProcessByNow", 41942},
                    NamedSeed{"CompletedRunBecameExportingAgain", 1618},
                    NamedSeed{"DoneMemberDiedWithItsShare", 2021},
                    NamedSeed{"StateInMemoryLeftToAnotherRun", 6, Weather::kCalm},
                    NamedSeed{"AdoptedCheckpointCommittedOnceMore", 12876},
                    NamedSeed{"AdoptedCheckpointLostWithThePower", 12628},
                    NamedSeed{"SlowDiskExcusedWhoWasGone", 646},
                    NamedSeed{"GroupHadNoWordWhereToMeet", 70750},
                    NamedSeed{"GroupHadNoWordWhereToMeetNorAPlan", 75556},
                    NamedSeed{"MemberHadWaitedForACommit", 208234}),
    [](const auto& info) { return info.param.name; });

struct SabotageCase {
  const char* name;
  Sabotage sabotage;
  const char* broken;
};

class SabotageTest : public testing::TestWithParam<SabotageCase> {};

TEST_P(SabotageTest, IsNoticed) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const SimulationResult r =
        Simulate(seed, {.weather = Weather::kStorm, .sabotage = GetParam().sabotage});
    if (r.broken.empty()) continue;
    EXPECT_THAT(r.broken, ContainsRegex(GetParam().broken)) << "seed " << seed;
    return;
  }
  FAIL() << "nobody noticed it in 200 seeds";
}

INSTANTIATE_TEST_SUITE_P(
    Simulation, SabotageTest,
    testing::Values(
        SabotageCase{"WorkerSkipsSamples", Sabotage::kWorkerSkipsSamples, "has samples"},
        SabotageCase{"WorkerUsesOtherRate", Sabotage::kWorkerUsesOtherRate, "has learning rate"},
        SabotageCase{"WorkerTrainsAgain", Sabotage::kWorkerTrainsAgain, "has samples"},
        SabotageCase{"StoreForgetsSupersede", Sabotage::kStoreForgetsSupersede, "curve"},
        SabotageCase{"StoreForgetsRequests", Sabotage::kStoreForgetsRequests,
                     "a repeated report counts once"},
        SabotageCase{"StoreForgetsPlans", Sabotage::kStoreForgetsPlans, "plan"},
        SabotageCase{"StoreForgetsKeys", Sabotage::kStoreForgetsKeys,
                     "one submission makes one run|a wish is fulfilled once"},
        SabotageCase{"StoreChangesWorkers", Sabotage::kStoreChangesWorkers, "is trained by"},
        // Or the one in whose stead it is there twice is free, and gets a second epoch.
        SabotageCase{"StoreDoublesMembers", Sabotage::kStoreDoublesMembers,
                     "twice|belongs to one epoch"},
        SabotageCase{"StoreChangesRetention", Sabotage::kStoreChangesRetention, "are kept"},
        // After a restart such an epoch ends once more, and so does its run.
        SabotageCase{"StoreKeepsEpochsAlive", Sabotage::kStoreKeepsEpochsAlive, "epoch|is final"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tritter::simulation

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // What a coordinator says in a storm is not what is looked for.
  tritter::InitLogging("simulation", tritter::LogLevel::kError);
  if (std::freopen("/dev/null", "w", stderr) == nullptr) return 2;
  return RUN_ALL_TESTS();
}
