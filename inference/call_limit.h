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

  // One of the calls, for as long as it lives.
  class Slot {
   public:
    explicit Slot(CallLimit* limit)
        : limit_(limit),
          taken_(limit->at_work_.fetch_add(1, std::memory_order_relaxed) < limit->max_) {}
    ~Slot() { limit_->at_work_.fetch_sub(1, std::memory_order_relaxed); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    // ResourceExhausted when this is one too many.
    absl::Status status() const {
      if (taken_) return absl::OkStatus();
      return absl::ResourceExhaustedError(absl::StrCat(
          limit_->max_, " calls are at work already, which is the limit; try again later"));
    }

   private:
    CallLimit* const limit_;
    const bool taken_;
  };

 private:
  const int max_;
  std::atomic<int> at_work_{0};
};

}  // namespace tritter
