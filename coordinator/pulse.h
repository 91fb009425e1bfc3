// Whether this process has been running. A process that was stopped, or whose machine was
// (suspended, a virtual one paused), heard nobody meanwhile: silence in that time says nothing
// about others. That somebody in it waited for a slow disk is no absence: messages were taken as
// they came.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace tritter {

struct Absence {
  absl::Duration ended;   // Clock::Monotonic
  absl::Duration length;  // with time in which the machine was suspended
};

// Thread-safe.
class Pulse {
 public:
  virtual ~Pulse() = default;
  // Since the process started; nothing when there was none.
  virtual std::optional<Absence> NewestAbsence() = 0;
};

// Between two beats that are further apart than `pause` the process was away. Thread-safe.
class PulseRecord : public Pulse {
 public:
  explicit PulseRecord(absl::Duration pause) : pause_(pause) {}
  // `lived`: of a clock that also counts time in which the machine is suspended and that nobody
  // sets; `now`: Clock::Monotonic at that moment.
  void Beat(absl::Duration lived, absl::Duration now);
  std::optional<Absence> NewestAbsence() override;

 private:
  const absl::Duration pause_;
  Mutex mu_;
  std::optional<absl::Duration> last_ GUARDED_BY(mu_);
  std::optional<Absence> newest_ GUARDED_BY(mu_);
};

// Time since the machine started, suspended or not (CLOCK_BOOTTIME).
absl::Duration SinceBoot();

// Owns a thread that only notes the time, every tenth of a second. Whoever asks notes it too: one
// that runs again a moment before the thread does learns of the absence all the same.
class PulseThread : public Pulse {
 public:
  // `clock` outlives it. `lived`: as of PulseRecord.
  PulseThread(Clock* clock, absl::Duration pause,
              std::function<absl::Duration()> lived = SinceBoot);
  ~PulseThread() override;
  std::optional<Absence> NewestAbsence() override;

 private:
  void Beat() { record_.Beat(lived_(), clock_->Monotonic()); }
  void Loop();

  Clock* const clock_;
  const std::function<absl::Duration()> lived_;
  PulseRecord record_;
  Mutex mu_;
  CondVar wake_;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace tritter
