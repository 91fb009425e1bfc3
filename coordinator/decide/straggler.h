// Which member of a group the others wait for. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "absl/types/span.h"

namespace tritter {

struct StragglerOptions {
  double named_above = 1.5;                  // times the median of the others
  double kept_above = 1.25;                  // once named: no news for a while around the limit
  absl::Duration after = absl::Seconds(10);  // so long it has to be slow
};

struct RankPace {
  std::string worker;
  double seconds = 0;  // own computation of one step, without waiting for others; 0: unknown
};

struct Straggler {
  std::string worker;
  double seconds = 0, others = 0;  // a step: its own, and the median of the others
  double ratio() const { return seconds / others; }
};

// The slowest, when it is slow beyond the limit: that of `named` (who is the straggler now, or "")
// is lower. Nothing for a group of one, and while any pace is unknown.
std::optional<Straggler> FindStraggler(absl::Span<const RankPace> ranks, const std::string& named,
                                       const StragglerOptions& options = {});

// "w-1 takes 0.84 s to compute its part of a step, the others 0.40 s: all wait for it".
std::string StragglerWords(const Straggler& straggler);

}  // namespace tritter
