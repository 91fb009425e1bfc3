// A clock that moves only when told to.
#pragma once

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace tritter {

// Thread-safe. Starts at 2026-01-01T00:00:00Z; Monotonic starts at zero.
class FakeClock : public Clock {
 public:
  enum class SleepMode {
    kAdvance,  // Sleep moves the clock and returns: single-threaded tests
    kBlock,    // Sleep waits until Advance has moved the clock far enough: tests with threads
  };
  explicit FakeClock(SleepMode mode = SleepMode::kAdvance);

  absl::Time Now() override;
  absl::Duration Monotonic() override;
  void Sleep(absl::Duration d) override;

  void Advance(absl::Duration d);
  // The wall clock alone jumps, as when somebody sets it; may go back.
  void JumpWallClock(absl::Duration d);
  // Blocks until at least n threads are in Sleep (kBlock).
  void AwaitSleepers(int n);

 private:
  const SleepMode mode_;
  Mutex mu_;
  CondVar changed_;
  absl::Time now_ GUARDED_BY(mu_);
  absl::Duration monotonic_ GUARDED_BY(mu_);
  int sleepers_ GUARDED_BY(mu_) = 0;
};

}  // namespace tritter
