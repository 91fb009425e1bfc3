// Calls that wait for their client: for the next request of a stream, or for room to write an
// answer that is not read. One that waits for longer than a limit is ended, so that idle clients do
// not hold places of others for ever. Knows no RPC.
#pragma once

#include <functional>
#include <list>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace tritter {

// Thread-safe. Outlives the calls.
class ClientWaits {
 public:
  enum class For { kRequest, kReading };
  // Ends the call with a status that its client gets, whatever its handler is doing. Called while
  // the wait goes on, once at most; must not wait for anything.
  using End = std::function<void(const absl::Status& why)>;

 private:
  struct Entry {
    For what;
    absl::Duration since;  // monotonic
    End end;               // null: ended
  };

 public:
  ClientWaits(absl::Duration limit, Clock* clock) : limit_(limit), clock_(clock) {}

  // One of the waits, for as long as it lives.
  class Wait {
   public:
    Wait(ClientWaits* waits, For what, End end);
    ~Wait();
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    // False: the server is ending, no other request is to be waited for.
    bool allowed() const { return allowed_; }

   private:
    ClientWaits* const waits_;
    std::list<Entry>::iterator entry_;
    bool allowed_ = true;
  };

  // Ends the calls that have waited for too long, as Aborted. To be called now and then.
  void EndOverdue();
  // Ends those that wait for a request, as Unavailable; from now on none is waited for.
  void StartDraining();

 private:
  const absl::Duration limit_;
  Clock* const clock_;
  Mutex mu_;
  bool draining_ GUARDED_BY(mu_) = false;
  std::list<Entry> entries_ GUARDED_BY(mu_);
};

}  // namespace tritter
