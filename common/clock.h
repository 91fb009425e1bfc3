// Time as a seam: domain code asks a Clock and never absl::Now or sleep.
#pragma once

#include "absl/time/time.h"

namespace tritter {

// Thread-safe. Real() lives for the whole process; tests use FakeClock
// (common/testing/fake_clock.h).
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time: for records that people read. May jump.
  virtual absl::Time Now() = 0;
  // Monotonic time since an arbitrary point: for intervals, leases and deadlines. Never jumps back.
  virtual absl::Duration Monotonic() = 0;
  virtual void Sleep(absl::Duration d) = 0;

  static Clock* Real();
};

}  // namespace tritter
