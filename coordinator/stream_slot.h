// A bound on streams, each of which costs memory or threads.
#pragma once

#include <atomic>

namespace tritter {

// Counts an open stream for as long as it lives.
class StreamSlot {
 public:
  StreamSlot(std::atomic<int>* streams, int most)
      : streams_(streams), granted_(++*streams <= most) {}
  ~StreamSlot() { --*streams_; }
  StreamSlot(const StreamSlot&) = delete;
  StreamSlot& operator=(const StreamSlot&) = delete;
  bool granted() const { return granted_; }

 private:
  std::atomic<int>* const streams_;
  const bool granted_;
};

}  // namespace tritter
