// The load generator at a small size: every run trains, every call is answered, the figures are
// printed. What they are is for `bazel run //tests/load:coordinator_load` on a quiet machine.
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/figure.h"
#include "common/subprocess.h"
#include "common/testing/status_matchers.h"

namespace tritter::load {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<std::string> Command(const std::string& folder, std::vector<std::string> more) {
  std::vector<std::string> argv = {"tests/load/coordinator_load",
                                   absl::StrCat("--dir=", std::getenv("TEST_TMPDIR"), "/", folder)};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

TEST(CoordinatorLoad, EveryRunTrainsAndEveryCallIsAnswered) {
  ASSERT_OK_AND_ASSIGN(
      const RunResult result,
      RunCommand(
          Command("small", {"--workers=34", "--probes=4", "--runs=10", "--queued=2", "--seconds=4",
                            "--warm-up=1", "--step-seconds=0.05", "--checkpoint-every=10"}),
          absl::Seconds(200)));
  // Whether the bars are met depends on what else the machine does.
  EXPECT_TRUE(result.exit.ok() || result.exit.code == kExitBarMissed)
      << result.exit.ToString() << "\n"
      << result.output;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("34 workers, 10 runs at work, 2 queued: share of a core"),
                    HasSubstr("heartbeat, there and back, p99"), HasSubstr("highest resident"),
                    HasSubstr("share  "), HasSubstr("plan  "), HasSubstr("report  ")));
}

TEST(CoordinatorLoad, MoreRunsThanWorkersAreRefused) {
  ASSERT_OK_AND_ASSIGN(
      const RunResult result,
      RunCommand(Command("refused", {"--workers=3", "--probes=1", "--runs=5"}), absl::Seconds(60)));
  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.output, HasSubstr("fewer than --runs 5"));
}

}  // namespace
}  // namespace tritter::load
