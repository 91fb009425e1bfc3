// Real processes that are killed, stopped, told to go, whose disk is full and whose clocks jump:
// the run ends by itself, having done the work of the undisturbed one bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/status_macros.h"
#include "common/testing/status_matchers.h"
#include "nlohmann/json.hpp"
#include "tests/chaos/campaign.h"
#include "tests/chaos/isolation.h"
#include "tests/chaos/scene.h"
#include "tests/chaos/small_disk.h"
#include "tests/chaos/wall_clock.h"
#include "tests/testing/server_surface.h"

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

// For a minute at most.
void Await(const std::function<bool()>& done) {
  const absl::Duration end = Clock::Real()->Monotonic() + absl::Minutes(1);
  while (!done() && Clock::Real()->Monotonic() < end) Clock::Real()->Sleep(absl::Milliseconds(10));
}

// Nobody was lost, nothing was trained twice, and the work is that of the undisturbed run.
void ExpectNoStepLost(const Course& undisturbed, const Course& course) {
  EXPECT_EQ(DifferenceOfWork(undisturbed, course), "");
  EXPECT_EQ(course.run.epochs_lost(), 0) << course.EventTexts();
  EXPECT_EQ(course.CountEvents("worker_lost"), 0) << course.EventTexts();
  EXPECT_EQ(course.CountEvents("steps_repeated"), 0) << course.EventTexts();
}

TEST(Processes, AWorkerThatIsToldToLeaveAndStartedAgainCostsNoStep) {
  ASSERT_OK_AND_ASSIGN(const Course course,
                       Play({.name = "leaves", .disturb = [](e2e::Cluster& cluster, auto&) {
                               RETURN_IF_ERROR(TellToEnd(cluster.worker("w1")));
                               return cluster.StartWorker("w1");
                             }}));
  ExpectNoStepLost(Undisturbed(), course);
  EXPECT_EQ(course.CountEvents("worker_left", "w1 left, as it was told to"), 1)
      << course.EventTexts();
  EXPECT_EQ(course.run.epoch(), 2u) << course.EventTexts();
}

TEST(Processes, ARankZeroThatIsToldToLeaveIsReplacedByAFreeWorkerAndCostsNoStep) {
  ASSERT_OK_AND_ASSIGN(
      const Course course,
      Play({.name = "rank-zero-leaves",
            .workers = 3,
            .disturb = [](e2e::Cluster& cluster, const std::string& run) -> absl::Status {
              ASSIGN_OR_RETURN(const v1::Run now, cluster.Get(run));
              if (now.members_size() != 2) return absl::InternalError(now.ShortDebugString());
              return TellToEnd(cluster.worker(now.members(0).worker()));
            }}));
  ExpectNoStepLost(Undisturbed(), course);
  EXPECT_EQ(course.CountEvents("worker_left"), 1) << course.EventTexts();
  EXPECT_EQ(course.run.epoch(), 2u) << course.EventTexts();
}

TEST(Processes, ACoordinatorThatIsToldToEndAndStartedAgainCostsNoStep) {
  ASSERT_OK_AND_ASSIGN(
      const Course course,
      Play({.name = "coordinator-leaves", .disturb = [](e2e::Cluster& cluster, auto&) {
              RETURN_IF_ERROR(TellToEnd(cluster.coordinator()));
              return cluster.StartCoordinator();
            }}));
  ExpectNoStepLost(Undisturbed(), course);
  EXPECT_EQ(course.run.epoch(), 1u) << course.EventTexts();
}

// The whole number behind the first `key` of `text`; -1 without one.
int64_t NumberBehind(absl::string_view text, absl::string_view key) {
  const size_t at = text.find(key);
  if (at == text.npos) return -1;
  text.remove_prefix(at + key.size());
  int64_t number = -1;
  return absl::SimpleAtoi(text.substr(0, text.find_first_not_of("0123456789")), &number) ? number
                                                                                         : -1;
}

// What a worker logged since it began with the newest of its plans; "" without one.
std::string SinceNewestPlan(const std::string& folder, const std::string& worker) {
  const std::string log = Env::Real()->ReadFile(JoinPath(folder, worker + ".log")).value_or("");
  const size_t newest = log.rfind(" plan_started ");
  return newest == std::string::npos ? "" : log.substr(newest);
}

// The step up to which a worker has plans, once it has trained that far and the coordinator is not
// there to be asked for more; 0 before.
int64_t WaitsForAPlanAt(const std::string& folder, const std::string& worker) {
  const std::string since = SinceNewestPlan(folder, worker);
  if (!absl::StrContains(since, "the coordinator is away")) return 0;
  const auto ready = nlohmann::json::parse(
      Env::Real()->ReadFile(JoinPath(folder, worker + ".json")).value_or("{}"));
  int status = 0;
  const std::string metrics = HttpGet(ready["metrics_address"], "/metrics", &status);
  const size_t gauge = metrics.find("\ntritter_train_step{");
  if (gauge == std::string::npos) return 0;
  const int64_t end = NumberBehind(since, "end_step=");
  return NumberBehind(absl::string_view(metrics).substr(gauge), "} ") == end ? end : 0;
}

TEST(Processes, ACoordinatorThatIsAwayForLongerThanAPlanIsWaitedForAndNoStepIsLost) {
  // Plans grow from 8 steps to four times the one before: one that is handed out soon after the
  // beginning ends well before the run.
  const std::map<std::string, std::string> longer = {
      {"steps", "200"}, {"every", "200"}, {"evaluate", "100"}};
  ASSERT_OK_AND_ASSIGN(const Course undisturbed,
                       Play({.name = "away-undisturbed", .overrides = longer}));
  std::string folder;
  int64_t waited_at = 0;
  ASSERT_OK_AND_ASSIGN(
      const Course course,
      Play({.name = "away",
            .overrides = longer,
            .worker =
                [&](int i) {
                  return e2e::Launch{
                      .flags = {"--ready-file", JoinPath(folder, absl::StrCat("w", i, ".json"))}};
                },
            .prepare =
                [&](const std::string& f) {
                  folder = f;
                  return absl::OkStatus();
                },
            .disturb =
                [&](e2e::Cluster& cluster, auto&) {
                  const auto has_plan = [&](const char* worker) {
                    return SinceNewestPlan(folder, worker) != "";
                  };
                  Await([&] { return has_plan("w0") && has_plan("w1"); });
                  cluster.KillCoordinator();
                  Await([&] {
                    waited_at = WaitsForAPlanAt(folder, "w0");
                    return waited_at > 0 && WaitsForAPlanAt(folder, "w1") == waited_at;
                  });
                  EXPECT_GT(waited_at, 0) << cluster.LogTails();
                  return cluster.StartCoordinator();
                },
            .after_step = -1,
            .after_checkpoint = 0}));
  EXPECT_LT(waited_at, 200) << "the plans in hand were the run's last ones";
  ExpectNoStepLost(undisturbed, course);
  EXPECT_EQ(course.run.epoch(), 1u) << course.EventTexts();
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
  ASSERT_OK_AND_ASSIGN(const Course course,
                       Play({.name = "disk-full",
                             .overrides = {{"keep", "2"}},
                             .prepare = [&](const std::string& folder) -> absl::Status {
                               auto mounted = SmallDisk::Mount(JoinPath(folder, "data"), 128 << 20);
                               if (mounted.ok()) disk = *std::move(mounted);
                               return mounted.status();
                             },
                             .disturb = [&](e2e::Cluster& cluster, auto& run) -> absl::Status {
                               if (absl::Status s = disk->Fill(); !s.ok()) return s;
                               // A checkpoint is due that has no room, or before it a plan that the
                               // store does not take.
                               const auto said = [&] {
                                 const std::string tails = cluster.LogTails();
                                 return absl::StrContains(tails, "free space on") ||
                                        absl::StrContains(tails, "free some space");
                               };
                               Await(said);
                               EXPECT_TRUE(said()) << cluster.LogTails();
                               auto waits = cluster.Get(run);
                               EXPECT_OK(waits.status());
                               if (waits.ok())
                                 EXPECT_EQ(waits->state(), v1::RUN_STATE_RUNNING)
                                     << waits->reason();
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
