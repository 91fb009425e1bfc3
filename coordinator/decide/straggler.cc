#include "coordinator/decide/straggler.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"

namespace tritter {

std::optional<Straggler> FindStraggler(absl::Span<const RankPace> ranks, const std::string& named,
                                       const StragglerOptions& options) {
  if (ranks.size() < 2) return std::nullopt;
  const RankPace* slowest = &ranks[0];
  for (const RankPace& rank : ranks) {
    if (!(rank.seconds > 0)) return std::nullopt;
    if (rank.seconds > slowest->seconds) slowest = &rank;
  }
  std::vector<double> others;
  for (const RankPace& rank : ranks) {
    if (&rank != slowest) others.push_back(rank.seconds);
  }
  std::nth_element(others.begin(), others.begin() + others.size() / 2, others.end());
  const Straggler found{slowest->worker, slowest->seconds, others[others.size() / 2]};
  const double limit = found.worker == named ? options.kept_above : options.named_above;
  if (found.ratio() <= limit) return std::nullopt;
  return found;
}

std::string StragglerWords(const Straggler& s) {
  return absl::StrFormat(
      "%s takes %.3g s to compute its part of a step, the others %.3g s: all wait "
      "for it",
      s.worker, s.seconds, s.others);
}

}  // namespace tritter
