// std::mutex with clang's thread-safety annotations. Not absl::Mutex: ThreadSanitizer cannot see
// into Debian's uninstrumented Abseil and would report races that are none.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#if defined(__clang__)
// Here and not among the compiler's options, which gcc would not know: in every file with a Mutex.
#pragma clang diagnostic error "-Wthread-safety"
#define TRITTER_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define TRITTER_THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(x) TRITTER_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY TRITTER_THREAD_ANNOTATION(scoped_lockable)
#define ACQUIRE(...) TRITTER_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) TRITTER_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define REQUIRES(...) TRITTER_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) TRITTER_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define RETURN_CAPABILITY(x) TRITTER_THREAD_ANNOTATION(lock_returned(x))

// The other three are defined by this version of Abseil already, with the same meaning.
#ifndef GUARDED_BY
#define GUARDED_BY(x) TRITTER_THREAD_ANNOTATION(guarded_by(x))
#define PT_GUARDED_BY(x) TRITTER_THREAD_ANNOTATION(pt_guarded_by(x))
#define NO_THREAD_SAFETY_ANALYSIS TRITTER_THREAD_ANNOTATION(no_thread_safety_analysis)
#endif

namespace tritter {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mu_.lock(); }
  void Unlock() RELEASE() { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ACQUIRE(mu) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() RELEASE() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

// Spurious wake-ups happen: wait in a loop over the condition.
class CondVar {
 public:
  void Wait(Mutex* mu) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // False when the time was over, true when woken. For a condition with a deadline keep the
  // deadline and pass what is left of it.
  bool WaitFor(Mutex* mu, absl::Duration timeout) REQUIRES(mu) {
    if (timeout >= kForever) {  // steady_clock::now() + timeout would overflow
      Wait(mu);
      return true;
    }
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    const auto status = cv_.wait_for(lock, absl::ToChronoNanoseconds(timeout));
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  static constexpr absl::Duration kForever = absl::Hours(24 * 365 * 100);
  std::condition_variable cv_;
};

}  // namespace tritter
