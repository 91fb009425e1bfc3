#include "worker/training/parallel.h"

#include <algorithm>

namespace tritter {

ParallelRows::ParallelRows(int threads) : parts_(std::max(threads, 1)) {
  for (int part = 1; part < parts_; ++part) threads_.emplace_back([this, part] { Work(part); });
}

ParallelRows::~ParallelRows() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void ParallelRows::Run(int64_t rows, const Body& body) {
  if (parts_ == 1) {
    body(0, 0, rows);
    return;
  }
  {
    MutexLock lock(&mu_);
    body_ = &body;
    rows_ = rows;
    ++round_;
    running_ = parts_ - 1;
    changed_.NotifyAll();
  }
  body(0, 0, rows / parts_);
  MutexLock lock(&mu_);
  while (running_ > 0) changed_.Wait(&mu_);
  body_ = nullptr;
}

void ParallelRows::Work(int part) {
  uint64_t done = 0;
  while (true) {
    const Body* body;
    int64_t rows;
    {
      MutexLock lock(&mu_);
      while (!stop_ && round_ == done) changed_.Wait(&mu_);
      if (stop_) return;
      done = round_;
      body = body_;
      rows = rows_;
    }
    (*body)(part, rows* part / parts_, rows * (part + 1) / parts_);
    MutexLock lock(&mu_);
    if (--running_ == 0) changed_.NotifyAll();
  }
}

}  // namespace tritter
