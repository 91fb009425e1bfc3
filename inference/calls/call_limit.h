// How many calls may be at work at a time, over all services of a server.
#pragma once

#include <atomic>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tritter {

// Thread-safe.
class CallLimit {
 public:
  explicit CallLimit(int max) : max_(max) {}
  int at_work() const { return at_work_.load(std::memory_order_relaxed); }
  // From now on calls are refused; those at work go on.
  void StartDraining() { draining_.store(true, std::memory_order_relaxed); }

  // One of the calls, for as long as it lives.
  class Slot {
   public:
    explicit Slot(CallLimit* limit)
        : limit_(limit),
          taken_(limit->at_work_.fetch_add(1, std::memory_order_relaxed) < limit->max_),
          draining_(limit->draining_.load(std::memory_order_relaxed)) {}
    ~Slot() { limit_->at_work_.fetch_sub(1, std::memory_order_relaxed); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    // ResourceExhausted when this is one too many; Unavailable when the server is ending.
    absl::Status status() const {
      if (draining_) {
        return absl::UnavailableError(
            "this server is shutting down and finishes only what it has begun; ask another one, or "
            "again when it is back");
      }
      if (taken_) return absl::OkStatus();
      return absl::ResourceExhaustedError(absl::StrCat(
          limit_->max_, " calls are at work already, which is the limit; try again later"));
    }

   private:
    CallLimit* const limit_;
    const bool taken_, draining_;
  };

 private:
  const int max_;
  std::atomic<int> at_work_{0};
  std::atomic<bool> draining_{false};
};

}  // namespace tritter
