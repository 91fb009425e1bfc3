#include "common/clock.h"

#include <gtest/gtest.h>

#include <thread>

#include "common/testing/fake_clock.h"

namespace tritter {
namespace {

TEST(RealClock, MonotonicNeverGoesBack) {
  Clock* clock = Clock::Real();
  absl::Duration last = clock->Monotonic();
  for (int i = 0; i < 1000; ++i) {
    const absl::Duration now = clock->Monotonic();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(FakeClock, MovesOnlyWhenTold) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  EXPECT_EQ(absl::FormatTime(start, absl::UTCTimeZone()), "2026-01-01T00:00:00+00:00");
  EXPECT_EQ(clock.Monotonic(), absl::ZeroDuration());
  clock.Advance(absl::Seconds(3));
  clock.Sleep(absl::Seconds(2));
  EXPECT_EQ(clock.Now(), start + absl::Seconds(5));
  EXPECT_EQ(clock.Monotonic(), absl::Seconds(5));
}

TEST(FakeClock, WallClockMayJumpBackMonotonicDoesNot) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  clock.JumpWallClock(-absl::Hours(1));
  EXPECT_EQ(clock.Now(), start - absl::Hours(1));
  EXPECT_EQ(clock.Monotonic(), absl::ZeroDuration());
}

TEST(FakeClock, BlockedSleeperWakesWhenItsTimeHasCome) {
  FakeClock clock(FakeClock::SleepMode::kBlock);
  absl::Duration woken_at;
  std::thread sleeper([&] {
    clock.Sleep(absl::Seconds(10));
    woken_at = clock.Monotonic();
  });
  clock.AwaitSleepers(1);
  clock.Advance(absl::Seconds(9));
  clock.AwaitSleepers(1);  // nine seconds are not enough
  clock.Advance(absl::Seconds(1));
  sleeper.join();
  EXPECT_EQ(woken_at, absl::Seconds(10));
}

}  // namespace
}  // namespace tritter
