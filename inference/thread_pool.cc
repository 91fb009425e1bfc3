#include "inference/thread_pool.h"

#include <algorithm>

#include "inference/cpu_cores.h"

namespace tritter {
namespace {

inline void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Longer than what is left of a phase when another core has been slowed down, and than what lies
// between two decode steps; short enough to be no load on an idle machine.
constexpr std::chrono::milliseconds kSpin(2);
// Longer than almost every wait of a machine that has a core for each thread. From then on others
// may have the core: on a busy machine it is they that are waited for.
constexpr std::chrono::microseconds kSpinAlone(50);
constexpr int kLooksPerClock = 64;  // of the spinning thread: a look at the clock costs about one

// Returns once `value` is no longer `old`: spins, then parks on the address.
void AwaitChange(const std::atomic<uint32_t>& value, uint32_t old, std::chrono::nanoseconds spin) {
  const auto begin = std::chrono::steady_clock::now();
  for (std::chrono::nanoseconds waited(0); waited < spin;
       waited = std::chrono::steady_clock::now() - begin) {
    for (int i = 0; i < kLooksPerClock; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      Relax();
    }
    if (waited >= kSpinAlone) std::this_thread::yield();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads, bool pin)
    : threads_(threads < 1 ? 1 : threads),
      pin_(pin),
      cpus_(SpreadOverCores(AllowedCpus())),
      // More threads than CPUs: whoever spins keeps the one that is waited for from running.
      spin_(static_cast<size_t>(threads_) > cpus_.size() ? std::chrono::milliseconds(0) : kSpin) {
  for (int worker = 1; worker < threads_; ++worker)
    workers_.emplace_back([this, worker] { Work(worker); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(absl::FunctionRef<void(int)> task) {
  if (pinned_caller_ != std::this_thread::get_id()) {
    pinned_caller_ = std::this_thread::get_id();
    Pin(0);
  }
  if (threads_ == 1) {
    task(0);
    return Barrier();
  }
  task_ = &task;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  task(0);
  Barrier();
}

void ThreadPool::Barrier() {
  if (threads_ == 1) return claimed_.store(0, std::memory_order_relaxed);
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(threads_)) {
    arrived_.store(0, std::memory_order_relaxed);
    claimed_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
  } else {
    AwaitChange(phase_, phase, spin_);
  }
}

ThreadPool::Range ThreadPool::Claim(int64_t items, int64_t least, int64_t most) {
  int64_t begin = claimed_.load(std::memory_order_relaxed);
  for (;;) {
    if (begin >= items) return {items, items};
    const int64_t left = items - begin;
    const int64_t fair = left / (2 * threads_) / least * least;
    const int64_t size = std::min(left, std::clamp(fair, least, most));
    if (claimed_.compare_exchange_weak(begin, begin + size, std::memory_order_relaxed))
      return {begin, begin + size};
  }
}

void ThreadPool::Pin(int worker) {
  if (pin_ && !cpus_.empty()) PinThisThread(cpus_[static_cast<size_t>(worker) % cpus_.size()]);
}

void ThreadPool::Work(int worker) {
  Pin(worker);
  uint32_t seen = 0;
  for (;;) {
    AwaitChange(generation_, seen, spin_);
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    (*task_)(worker);
    Barrier();
  }
}

}  // namespace tritter
