#include "coordinator/pulse.h"

#include <gtest/gtest.h>

#include <atomic>

#include "common/testing/fake_clock.h"

namespace tritter {
namespace {

constexpr absl::Duration kPause = absl::Seconds(1);

TEST(PulseRecord, BeatsThatFollowEachOtherAreNoAbsence) {
  PulseRecord pulse(kPause);
  for (int i = 0; i < 100; ++i) pulse.Beat(absl::Seconds(i), absl::Seconds(i));
  EXPECT_FALSE(pulse.NewestAbsence().has_value());
}

TEST(PulseRecord, AStoppedProcessWasAwayUntilItsNextBeat) {
  PulseRecord pulse(kPause);
  pulse.Beat(absl::Seconds(1), absl::Seconds(1));
  pulse.Beat(absl::Seconds(8), absl::Seconds(8));
  pulse.Beat(absl::Seconds(8.1), absl::Seconds(8.1));
  ASSERT_TRUE(pulse.NewestAbsence().has_value());
  EXPECT_EQ(pulse.NewestAbsence()->ended, absl::Seconds(8));
  EXPECT_EQ(pulse.NewestAbsence()->length, absl::Seconds(7));
}

// The monotonic clock stands while the machine is suspended.
TEST(PulseRecord, ASuspendedMachineWasAway) {
  PulseRecord pulse(kPause);
  pulse.Beat(absl::Seconds(100), absl::Seconds(5));
  pulse.Beat(absl::Seconds(4000), absl::Seconds(5.1));
  ASSERT_TRUE(pulse.NewestAbsence().has_value());
  EXPECT_EQ(pulse.NewestAbsence()->ended, absl::Seconds(5.1));
  EXPECT_EQ(pulse.NewestAbsence()->length, absl::Seconds(3900));
}

TEST(PulseRecord, TimesNotedInAnotherOrderAreNoAbsence) {
  PulseRecord pulse(kPause);
  pulse.Beat(absl::Seconds(2), absl::Seconds(2));
  pulse.Beat(absl::Seconds(1.5), absl::Seconds(1.5));
  pulse.Beat(absl::Seconds(2.9), absl::Seconds(2.9));
  EXPECT_FALSE(pulse.NewestAbsence().has_value());
}

TEST(PulseThread, BeatsByItselfAndTellsWhoAsksFirst) {
  FakeClock clock;
  std::atomic<int> beats{0};
  std::atomic<int64_t> lived{0};
  PulseThread pulse(&clock, kPause, [&] {
    ++beats;
    return absl::Seconds(lived.load());
  });
  while (beats < 4) clock.Advance(absl::Milliseconds(1));  // by its thread: nobody asks
  EXPECT_FALSE(pulse.NewestAbsence().has_value());
  lived = 30;
  const std::optional<Absence> away = pulse.NewestAbsence();
  ASSERT_TRUE(away.has_value());
  EXPECT_EQ(away->length, absl::Seconds(30));
}

}  // namespace
}  // namespace tritter
