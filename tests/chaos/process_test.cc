// Real processes that are killed, stopped, told to go, whose disk is full and whose clocks jump:
// the run ends by itself, having done the work of the undisturbed one bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/status_macros.h"
#include "common/testing/status_matchers.h"
#include "tests/chaos/campaign.h"
#include "tests/chaos/isolation.h"
#include "tests/chaos/scene.h"
#include "tests/chaos/small_disk.h"
#include "tests/chaos/wall_clock.h"

namespace tritter::chaos {
namespace {

using ::testing::HasSubstr;

// Before gRPC has threads.
const absl::Status isolated = Isolate();

// The work that the others are compared with.
const Course& Undisturbed() {
  static const Course* course = [] {
    auto played = Play({.name = "undisturbed"});
    EXPECT_OK(played.status());
    return new Course(played.ok() ? *std::move(played) : Course());
  }();
  return *course;
}

TEST(Processes, AStoppedWorkerIsLostAndComesBackWhenItIsWokenUp) {
  ASSERT_OK_AND_ASSIGN(const Course course,
                       Play({.name = "stopped", .disturb = [](e2e::Cluster& cluster, auto& run) {
                               cluster.worker("w1")->Signal(SIGSTOP);
                               auto lost = cluster.WaitFor(
                                   run, [](const v1::Run& r) { return r.members_size() == 0; });
                               cluster.worker("w1")->Signal(SIGCONT);
                               return lost.status();
                             }}));
  EXPECT_EQ(DifferenceOfWork(Undisturbed(), course), "");
  EXPECT_EQ(course.CountEvents("worker_lost", "w1 lost: silent for"), 1) << course.EventTexts();
  EXPECT_EQ(course.run.epochs_lost(), 1) << course.EventTexts();
}

TEST(Processes, AStoppedCoordinatorBlamesNobodyForItsOwnSilence) {
  ASSERT_OK_AND_ASSIGN(const Course course,
                       Play({.name = "coordinator-stopped",
                             .overrides = {{"steps", std::to_string(kSceneSteps)}},
                             .disturb = [](e2e::Cluster& cluster, auto&) {
                               cluster.coordinator()->Signal(SIGSTOP);
                               Clock::Real()->Sleep(absl::Seconds(7));  // beyond the heartbeats
                               cluster.coordinator()->Signal(SIGCONT);
                               return absl::OkStatus();
                             }}));
  EXPECT_EQ(DifferenceOfWork(Undisturbed(), course), "");
  EXPECT_EQ(course.run.epoch(), 1u) << course.EventTexts();
  EXPECT_EQ(course.CountEvents("worker_lost"), 0) << course.EventTexts();
}

TEST(Processes, AFullDiskHoldsTheRunUpAndNothingIsLost) {
  if (!isolated.ok()) GTEST_SKIP() << isolated;
  std::unique_ptr<SmallDisk> disk;
  ASSERT_OK_AND_ASSIGN(
      const Course course,
      Play({.name = "disk-full",
            .overrides = {{"keep", "2"}},
            .prepare = [&](const std::string& folder) -> absl::Status {
              auto mounted = SmallDisk::Mount(JoinPath(folder, "data"), 128 << 20);
              if (mounted.ok()) disk = *std::move(mounted);
              return mounted.status();
            },
            .disturb = [&](e2e::Cluster& cluster, auto& run) -> absl::Status {
              if (absl::Status s = disk->Fill(); !s.ok()) return s;
              // A checkpoint is due that has no room, or before it a plan that the store does not
              // take.
              const auto said = [&] {
                const std::string tails = cluster.LogTails();
                return absl::StrContains(tails, "free space on") ||
                       absl::StrContains(tails, "free some space");
              };
              const absl::Duration end = Clock::Real()->Monotonic() + absl::Seconds(60);
              while (!said() && Clock::Real()->Monotonic() < end)
                Clock::Real()->Sleep(absl::Milliseconds(50));
              EXPECT_TRUE(said()) << cluster.LogTails();
              auto waits = cluster.Get(run);
              EXPECT_OK(waits.status());
              if (waits.ok()) EXPECT_EQ(waits->state(), v1::RUN_STATE_RUNNING) << waits->reason();
              return disk->Free();
            }}));
  EXPECT_EQ(DifferenceOfWork(Undisturbed(), course), "");
  EXPECT_EQ(course.run.epoch(), 1u) << course.EventTexts();
}

constexpr int64_t kHourMs = 3600 * 1000;

int64_t LatestMs(const Course& course) {
  int64_t latest = 0;
  for (const v1::StepMetrics& step : course.steps) latest = std::max(latest, step.time_ms());
  return latest;
}

TEST(Processes, WallClocksThatJumpChangeNothing) {
  std::unique_ptr<WallClock> clock;
  const std::string file = JoinPath(e2e::TempFolder("wall-clock"), "offset");
  auto created = WallClock::Create(file, "tests/chaos/libwall_clock_preload.so");
  ASSERT_OK(created.status());
  clock = *std::move(created);
  const e2e::Launch launch = {.environment = clock->environment()};
  // Long enough that both jumps lie within it on a fast machine too: steps are seen by reports,
  // every second.
  const std::map<std::string, std::string> longer = {{"steps", "1200"}, {"evaluate", "600"}};
  ASSERT_OK_AND_ASSIGN(const Course undisturbed,
                       Play({.name = "clocks-undisturbed", .overrides = longer}));
  ASSERT_OK_AND_ASSIGN(
      const Course course,
      Play({.name = "clocks",
            .overrides = longer,
            .coordinator = launch,
            .worker = [&](int) { return launch; },
            .disturb = [&](e2e::Cluster& cluster, auto& run) -> absl::Status {
              clock->Jump(absl::Hours(36));
              // However many steps the next report brings, it has the new time.
              Course so_far;
              do {
                Clock::Real()->Sleep(absl::Milliseconds(20));
                RETURN_IF_ERROR(ReadSteps(cluster, run, &so_far));
              } while (LatestMs(so_far) < so_far.steps.front().time_ms() + 35 * kHourMs &&
                       so_far.steps.back().step() < 1200);
              clock->Jump(-absl::Hours(48));
              return absl::OkStatus();
            }}));
  EXPECT_EQ(DifferenceOfWork(undisturbed, course), "");
  EXPECT_EQ(course.run.epoch(), 1u) << course.EventTexts();
  EXPECT_EQ(course.CountEvents("worker_lost"), 0) << course.EventTexts();
  // The jumps were there to be seen.
  const int64_t first = course.steps.front().time_ms();
  EXPECT_GT(LatestMs(course), first + 35 * kHourMs);
  EXPECT_LT(course.steps.back().time_ms(), first - 11 * kHourMs);
}

TEST(Processes, KillsOfAnyoneAtAnyMoment) {
  ASSERT_OK_AND_ASSIGN(
      const CampaignTally tally,
      RunCampaign({.folder = e2e::TempFolder("kills"), .seed = 3, .kills = 5, .steps = 80}));
  EXPECT_GE(tally.kills(), 5);
  EXPECT_EQ(tally.first_difference, "");
  EXPECT_EQ(tally.steps_that_differ, 0);
}

}  // namespace
}  // namespace tritter::chaos
