#include "tests/load/load_counts.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tritter::load {

double CallFigures::Percentile(double p) const {
  if (milliseconds.empty()) return 0;
  const double rank = std::ceil(p * static_cast<double>(milliseconds.size()));
  const size_t index = rank < 1 ? 0 : static_cast<size_t>(rank) - 1;
  return milliseconds[std::min(index, milliseconds.size() - 1)];
}

void LoadCounts::Sent(const std::string& call) {
  MutexLock lock(&mu_);
  ++calls_[call].calls;
}

void LoadCounts::Took(const std::string& call, absl::Duration time) {
  MutexLock lock(&mu_);
  calls_[call].milliseconds.push_back(absl::ToDoubleMilliseconds(time));
}

void LoadCounts::Failed(const std::string& call, const absl::Status& status) {
  constexpr size_t kMostKinds = 20;
  const std::string what = absl::StrCat(call, ": ", absl::StatusCodeToString(status.code()), ": ",
                                        std::string(status.message()));
  MutexLock lock(&mu_);
  if (failures_.size() >= kMostKinds && !failures_.contains(what)) {
    ++failures_["others"];
  } else {
    ++failures_[what];
  }
}

std::map<std::string, CallFigures> LoadCounts::TakeCalls() {
  std::map<std::string, CallFigures> out;
  {
    MutexLock lock(&mu_);
    out = std::exchange(calls_, {});
  }
  for (auto& [call, figures] : out)
    std::sort(figures.milliseconds.begin(), figures.milliseconds.end());
  return out;
}

std::map<std::string, int64_t> LoadCounts::Failures() {
  MutexLock lock(&mu_);
  return failures_;
}

}  // namespace tritter::load
