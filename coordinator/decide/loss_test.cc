#include "coordinator/decide/loss.h"

#include <gtest/gtest.h>

#include <string>

namespace tritter {
namespace {

struct Case {
  std::string name;
  Liveness worker;
  std::string kind, lost;  // empty: alive
};

TEST(DecideLoss, FollowsTheTable) {
  const absl::Duration inf = absl::InfiniteDuration();
  const Case cases[] = {
      {"healthy", {true, false, inf, absl::Seconds(1)}, "", ""},
      {"late heartbeat", {true, false, inf, absl::Milliseconds(4999)}, "", ""},
      {"silent host", {true, false, inf, absl::Milliseconds(5200)}, "silence", "silent for 5 s"},
      {"stream just broken", {false, false, absl::Milliseconds(300), absl::Seconds(1)}, "", ""},
      {"stream broken",
       {false, false, absl::Milliseconds(500), absl::Seconds(1)},
       "stream",
       "its process died or was cut off"},
      {"stream broken, of a known process",
       {false, false, inf, absl::Seconds(1), inf, inf, false, "pid 12 on host-a"},
       "stream",
       "its process (pid 12 on host-a) died or was cut off"},
      {"registered, never opened a stream",
       {false, false, absl::Milliseconds(400), absl::Seconds(0)},
       "",
       ""},
      {"awaited after a restart", {false, true, inf, inf, absl::Seconds(9)}, "", ""},
      {"did not come back",
       {false, true, inf, inf, absl::Seconds(10)},
       "restart",
       "did not come back after the coordinator's restart, silent for 10 s"},
      {"called a moment ago",
       {false, true, inf, inf, absl::Seconds(15), absl::Milliseconds(9999)},
       "",
       ""},
      {"called, and opened no session",
       {false, true, inf, inf, absl::Seconds(15), absl::Seconds(10)},
       "restart",
       "did not come back after the coordinator's restart, silent for 10 s"},
      {"missed by its group", {false, true, inf, inf, absl::Seconds(4), inf, true}, "", ""},
      {"missed by its group, and did not come back",
       {false, true, inf, inf, absl::Seconds(5), inf, true},
       "restart",
       "did not come back after the coordinator's restart, silent for 5 s"},
  };
  for (const Case& c : cases) {
    const Loss loss = DecideLoss(c.worker).value_or(Loss());
    EXPECT_EQ(loss.why, c.lost) << c.name;
    EXPECT_EQ(loss.kind, c.kind) << c.name;
  }
}

}  // namespace
}  // namespace tritter
