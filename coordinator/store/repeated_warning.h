// A warning that stands for as long as something is wrong is said again, less and less often.
#pragma once

#include <algorithm>
#include <optional>

#include "absl/time/time.h"

namespace tritter {

// Not thread-safe. At once, after 5 s, then after twice as long each time, up to 5 min.
class RepeatedWarning {
 public:
  // Whether it is to be said at `now` (Clock::Monotonic).
  bool Due(absl::Duration now) {
    if (!since_.has_value()) since_ = next_ = now;
    if (now < next_) return false;
    next_ = now + gap_;
    gap_ = std::min(2 * gap_, absl::Minutes(5));
    return true;
  }
  // How long it has stood.
  absl::Duration Since(absl::Duration now) const {
    return since_.has_value() ? now - *since_ : absl::ZeroDuration();
  }
  // Nothing is wrong any more.
  void Clear() { *this = RepeatedWarning(); }

 private:
  std::optional<absl::Duration> since_;
  absl::Duration next_, gap_ = absl::Seconds(5);
};

}  // namespace tritter
