// Workers that come and go as they are wanted, as real processes: a group of CPUs grows and shrinks
// without losing a step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <string>

#include "common/clock.h"
#include "common/env.h"
#include "common/status_macros.h"
#include "common/testing/status_matchers.h"
#include "tests/chaos/scene.h"

namespace tritter::chaos {
namespace {

using ::testing::HasSubstr;

// Until the run is in `epoch`. A group grows when a minute of work is left: the worker is let go on
// for moments only, which makes a minute of what else takes seconds.
absl::Status HoldBackUntil(e2e::Cluster& cluster, const std::string& worker, const std::string& run,
                           uint64_t epoch) {
  const absl::Duration end = Clock::Real()->Monotonic() + absl::Minutes(2);
  v1::Run now;
  while (now.epoch() < epoch && Clock::Real()->Monotonic() < end) {
    cluster.worker(worker)->Signal(SIGSTOP);
    Clock::Real()->Sleep(absl::Milliseconds(500));
    cluster.worker(worker)->Signal(SIGCONT);
    Clock::Real()->Sleep(absl::Milliseconds(10));
    ASSIGN_OR_RETURN(now, cluster.Get(run));
  }
  if (now.epoch() >= epoch) return absl::OkStatus();
  return absl::DeadlineExceededError(now.ShortDebugString());
}

TEST(Elastic, AWorkerJoinsFromTheMemoryOfTheOtherAndLeavesAgainWithoutALostStep) {
  // Evaluated at the end alone, when w0 is alone: windows are summed rank by rank.
  const std::map<std::string, std::string> elastic = {
      {"min", "1"}, {"max", "2"}, {"steps", "500"}, {"every", "250"}, {"evaluate", "500"}};
  ASSERT_OK_AND_ASSIGN(const Course undisturbed,
                       Play({.name = "alone", .workers = 1, .overrides = elastic}));
  std::string folder;
  ASSERT_OK_AND_ASSIGN(
      const Course course,
      Play({.name = "elastic",
            .workers = 1,
            .overrides = elastic,
            .prepare =
                [&](const std::string& f) {
                  folder = f;
                  return absl::OkStatus();
                },
            .disturb = [](e2e::Cluster& cluster, const std::string& run) -> absl::Status {
              RETURN_IF_ERROR(cluster.StartWorker("w1"));
              RETURN_IF_ERROR(HoldBackUntil(cluster, "w0", run, 2));
              ASSIGN_OR_RETURN(v1::Run now, AwaitTraining(cluster, run, -1, 2));
              ASSIGN_OR_RETURN(now, AwaitTraining(cluster, run, now.step(), 2));
              EXPECT_EQ(now.members_size(), 2);
              return TellToEnd(cluster.worker("w1"));
            },
            .after_step = 1,
            .after_checkpoint = 0}));
  // One worker computes the micro-batches of two in the same order: the same bits.
  EXPECT_EQ(DifferenceOfWork(undisturbed, course), "");
  EXPECT_EQ(course.run.epoch(), 3u) << course.EventTexts();
  EXPECT_EQ(course.run.epochs_lost(), 0) << course.EventTexts();
  EXPECT_EQ(course.CountEvents("worker_left", "w1 left, as it was told to"), 1)
      << course.EventTexts();
  EXPECT_EQ(course.CountEvents("worker_lost"), 0) << course.EventTexts();
  EXPECT_EQ(course.CountEvents("steps_repeated"), 0) << course.EventTexts();
  std::map<uint64_t, int64_t> steps;  // by epoch
  for (const v1::StepMetrics& m : course.steps) ++steps[m.epoch()];
  EXPECT_EQ(steps.size(), 3u) << "each of the groups trained";
  // A state that comes from memory is compared by its hash over the group.
  const auto log = [&](const std::string& worker) {
    return Env::Real()->ReadFile(JoinPath(folder, worker + ".log")).value_or("");
  };
  EXPECT_THAT(log("w0"), HasSubstr("from=\"own memory\""));
  EXPECT_THAT(log("w1"), HasSubstr("from=\"the memory of others\""));
}

}  // namespace
}  // namespace tritter::chaos
