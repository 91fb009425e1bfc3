// What every part of a simulation shares: the clock, the events to come, the randomness, the trace
// and the first broken promise. One seed is one history: nothing here depends on anything else.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/random.h"
#include "common/testing/fake_clock.h"

namespace tritter::simulation {

class World {
 public:
  World(uint64_t seed, bool tracing) : tracing_(tracing), random_(seed) {}

  FakeClock clock;

  // --- events: in the order of their times, of equal ones in the order of their making ---
  absl::Duration now() const { return now_; }
  void After(absl::Duration delay, std::function<void()> act) { At(now_ + delay, std::move(act)); }
  void At(absl::Duration time, std::function<void()> act);
  // The next event; false when there is none, the time is over or a promise is broken.
  bool Step(absl::Duration until);
  int64_t events() const { return made_; }

  // --- randomness ---
  bool Chance(double probability) { return random_.Uniform() < probability; }
  int64_t Below(int64_t n) { return static_cast<int64_t>(random_.Below(static_cast<uint64_t>(n))); }
  int64_t Between(int64_t low, int64_t high) { return low + Below(high - low + 1); }
  double Between(double low, double high) { return low + (high - low) * random_.Uniform(); }
  absl::Duration Between(absl::Duration low, absl::Duration high) {
    return low + (high - low) * random_.Uniform();
  }
  uint64_t Bits() { return random_.Next64(); }

  // --- what happened ---
  template <typename... Words>
  void Note(const Words&... words) {
    if (tracing_) Append(absl::StrCat(words...));
  }
  const std::vector<std::string>& trace() const { return trace_; }
  // The first one counts, and ends the simulation.
  void Break(const std::string& promise);
  const std::optional<std::string>& broken() const { return broken_; }

 private:
  struct Event {
    absl::Duration time;
    int64_t order;
    std::function<void()> act;
    bool operator<(const Event& other) const {  // the queue's first is its largest
      return time != other.time ? time > other.time : order > other.order;
    }
  };
  void Append(std::string line);

  const bool tracing_;
  Philox random_;
  absl::Duration now_;
  int64_t made_ = 0;
  std::priority_queue<Event> events_;
  std::vector<std::string> trace_;
  std::optional<std::string> broken_;
};

}  // namespace tritter::simulation
