#include "worker/training/parallel.h"

#include <algorithm>

namespace tritter {
namespace {

constexpr int kSpins = 4000;  // some tens of microseconds

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ParallelRows::ParallelRows(int threads) : parts_(std::max(threads, 1)) {
  for (int part = 1; part < parts_; ++part) threads_.emplace_back([this, part] { Work(part); });
}

ParallelRows::~ParallelRows() {
  stop_ = true;
  WakeSleepers();
  for (std::thread& thread : threads_) thread.join();
}

template <typename Ready>
void ParallelRows::WaitUntil(const Ready& ready) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (ready()) return;
    Pause();
  }
  MutexLock lock(&mu_);
  // Counted before the last look: whoever makes a change after it sees a sleeper.
  ++sleepers_;
  while (!ready()) changed_.Wait(&mu_);
  --sleepers_;
}

void ParallelRows::WakeSleepers() {
  if (sleepers_ == 0) return;
  MutexLock lock(&mu_);
  changed_.NotifyAll();
}

void ParallelRows::Run(int64_t rows, const Body& body) {
  if (parts_ == 1) {
    body(0, 0, rows);
    return;
  }
  body_ = &body;
  rows_ = rows;
  running_ = parts_ - 1;
  ++round_;
  WakeSleepers();
  body(0, 0, rows / parts_);
  WaitUntil([this] { return running_ == 0; });
}

void ParallelRows::Work(int part) {
  for (uint64_t done = 0; true; ++done) {
    WaitUntil([&] { return stop_ || round_ != done; });
    if (stop_) return;
    (*body_)(part, rows_* part / parts_, rows_ * (part + 1) / parts_);
    if (--running_ == 0) WakeSleepers();
  }
}

}  // namespace tritter
