#include "common/testing/fake_clock.h"

namespace tritter {

FakeClock::FakeClock(SleepMode mode) : mode_(mode), now_(absl::FromUnixSeconds(1767225600)) {}

absl::Time FakeClock::Now() {
  MutexLock lock(&mu_);
  return now_;
}

absl::Duration FakeClock::Monotonic() {
  MutexLock lock(&mu_);
  return monotonic_;
}

void FakeClock::Sleep(absl::Duration d) {
  if (d <= absl::ZeroDuration()) return;
  if (mode_ == SleepMode::kAdvance) return Advance(d);
  MutexLock lock(&mu_);
  const absl::Duration wake = monotonic_ + d;
  ++sleepers_;
  changed_.NotifyAll();
  while (monotonic_ < wake) changed_.Wait(&mu_);
  --sleepers_;
}

void FakeClock::Advance(absl::Duration d) {
  MutexLock lock(&mu_);
  now_ += d;
  monotonic_ += d;
  changed_.NotifyAll();
}

void FakeClock::JumpWallClock(absl::Duration d) {
  MutexLock lock(&mu_);
  now_ += d;
}

void FakeClock::AwaitSleepers(int n) {
  MutexLock lock(&mu_);
  while (sleepers_ < n) changed_.Wait(&mu_);
}

}  // namespace tritter
