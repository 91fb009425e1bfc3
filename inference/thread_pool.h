// A fixed set of threads that work on one task at a time, in lockstep: made for a decode step,
// which is a few hundred short parallel phases. Waiting threads spin (a barrier then costs a
// fraction of a microsecond; waking a parked thread costs tens, on a virtual machine more) and park
// after kSpin, so that an idle or oversubscribed machine is not kept busy. Pinned, each thread
// keeps to one CPU, of distinct physical cores first.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace tritter {

// Owned by the engine. Run is called by one thread at a time; that thread is worker 0.
class ThreadPool {
 public:
  // >= 1, the caller of Run included. `pin` moves the caller too, at its first Run; more threads
  // than CPUs share them. A thread that the system does not let pin itself runs as it did.
  explicit ThreadPool(int threads, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }
  // Calls task(worker) for worker 0 … threads-1, each on its own thread; returns when all have
  // returned.
  void Run(absl::FunctionRef<void(int worker)> task);
  // Inside a task: returns once every worker has called it. Everything written before is visible
  // after.
  void Barrier();

  // The part [begin, end) of `items` that a worker takes: contiguous, sizes differ by at most one.
  struct Range {
    int64_t begin, end;
  };
  Range Share(int64_t items, int worker) const {
    return {items * worker / threads_, items * (worker + 1) / threads_};
  }
  // The next items that no worker has taken yet, a multiple of `least` (but for the last) and
  // at most `most` of them, fewer towards the end; empty when all are taken. Cores that others slow
  // down so take less. One loop of all workers over the same `items` between two barriers.
  Range Claim(int64_t items, int64_t least, int64_t most);

 private:
  void Work(int worker);
  void Pin(int worker);

  const int threads_;
  const bool pin_;
  const std::vector<int> cpus_;  // that the maker of the pool may run on, best ones first
  const std::chrono::nanoseconds spin_;
  std::thread::id pinned_caller_;
  std::atomic<uint32_t> arrived_{0};
  std::atomic<uint32_t> phase_{0};       // of the barrier
  std::atomic<uint32_t> generation_{0};  // of the task
  std::atomic<int64_t> claimed_{0};      // items since the last barrier
  std::atomic<bool> stop_{false};
  const absl::FunctionRef<void(int)>* task_ = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace tritter
