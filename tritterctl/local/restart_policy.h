// When a child that ended is started again. Pure.
#pragma once

#include "absl/time/time.h"

namespace tritter {

struct RestartPolicy {
  absl::Duration first_pause = absl::Milliseconds(200);
  absl::Duration longest_pause = absl::Seconds(5);
  // A life this long wipes earlier failures.
  absl::Duration healthy_life = absl::Seconds(3);
  int most_quick_failures = 5;  // lives shorter than that, one after the other
};

// Failures in a row after a life of `life` that followed `before` failures.
inline int FailuresInARow(const RestartPolicy& policy, int before, absl::Duration life) {
  return life >= policy.healthy_life ? 1 : before + 1;
}

// Doubles with each failure in a row.
inline absl::Duration PauseBeforeRestart(const RestartPolicy& policy, int failures) {
  absl::Duration pause = policy.first_pause;
  for (int i = 1; i < failures && pause < policy.longest_pause; ++i) pause *= 2;
  return pause < policy.longest_pause ? pause : policy.longest_pause;
}

inline bool GiveUp(const RestartPolicy& policy, int failures) {
  return failures >= policy.most_quick_failures;
}

}  // namespace tritter
