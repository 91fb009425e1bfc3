#include "coordinator/pulse.h"

#include <time.h>

#include <algorithm>
#include <utility>

namespace tritter {
namespace {
constexpr absl::Duration kBeat = absl::Milliseconds(100);
}  // namespace

void PulseRecord::Beat(absl::Duration lived, absl::Duration now) {
  MutexLock lock(&mu_);
  if (last_.has_value() && lived - *last_ > pause_) newest_ = Absence{now, lived - *last_};
  // Two threads may note their times in another order than they took them.
  last_ = last_.has_value() ? std::max(*last_, lived) : lived;
}

std::optional<Absence> PulseRecord::NewestAbsence() {
  MutexLock lock(&mu_);
  return newest_;
}

absl::Duration SinceBoot() {
  timespec ts;
  clock_gettime(CLOCK_BOOTTIME, &ts);
  return absl::DurationFromTimespec(ts);
}

PulseThread::PulseThread(Clock* clock, absl::Duration pause, std::function<absl::Duration()> lived)
    : clock_(clock), lived_(std::move(lived)), record_(pause) {
  Beat();
  thread_ = std::thread([this] { Loop(); });
}

PulseThread::~PulseThread() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

std::optional<Absence> PulseThread::NewestAbsence() {
  Beat();
  return record_.NewestAbsence();
}

void PulseThread::Loop() {
  MutexLock lock(&mu_);
  while (!stopping_) {
    Beat();
    wake_.WaitFor(&mu_, kBeat);
  }
}

}  // namespace tritter
