// Splits rows over a few threads. All threads of training are these: LibTorch runs within them,
// each call on one thread (a second pool beside this one would fight it for the cores).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace tritter {

// Owned by the trainer. Run is called by one thread at a time; with one thread it calls straight
// through. A thread that waits spins for some microseconds, the length of the work between two
// calls, and then sleeps.
class ParallelRows {
 public:
  using Body = std::function<void(int part, int64_t first, int64_t end)>;
  explicit ParallelRows(int threads);
  ~ParallelRows();
  ParallelRows(const ParallelRows&) = delete;
  ParallelRows& operator=(const ParallelRows&) = delete;

  int parts() const { return parts_; }
  // body(part, first, end) for every part's share of [0, rows), the same shares every time; returns
  // when all are done.
  void Run(int64_t rows, const Body& body);

 private:
  void Work(int part);
  // Until `ready` says so: spinning first, then asleep.
  template <typename Ready>
  void WaitUntil(const Ready& ready);
  // After a change that somebody may wait for.
  void WakeSleepers();

  const int parts_;
  // Of the round at hand; written before round_ and read after it.
  const Body* body_ = nullptr;
  int64_t rows_ = 0;
  std::atomic<uint64_t> round_ = 0;
  std::atomic<int> running_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<int> sleepers_ = 0;
  Mutex mu_;
  CondVar changed_;
  std::vector<std::thread> threads_;
};

}  // namespace tritter
