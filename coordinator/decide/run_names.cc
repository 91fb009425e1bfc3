#include "coordinator/decide/run_names.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/decide/run_life.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

constexpr size_t kLongestName = 63;  // IsRunName in model/run_spec_resolve.cc
constexpr size_t kListed = 10;       // an error stays readable

std::string Age(absl::Duration age) {
  const double hours = absl::ToDoubleHours(age);
  if (hours >= 72) return absl::StrCat(static_cast<int64_t>(hours / 24), " days ago");
  if (hours >= 3) return absl::StrCat(static_cast<int64_t>(hours), " h ago");
  return Ago(age);
}

}  // namespace

std::string NamedRun(absl::string_view name, absl::string_view run_id) {
  return absl::StrCat(name, " (", run_id, ")");
}

std::string NamedRun(absl::string_view name, absl::string_view run_id, int64_t priority) {
  return absl::StrCat(name, " (", run_id, ", priority ", priority, ")");
}

std::optional<size_t> RunToChange(absl::Span<const Namesake> runs) {
  if (runs.size() == 1) return 0;
  std::optional<size_t> open;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (IsFinal(runs[i].state)) continue;
    if (open.has_value()) return std::nullopt;
    open = i;
  }
  return open;
}

std::string AmbiguityWords(absl::string_view name, absl::Span<const Namesake> runs) {
  std::vector<std::string> words;
  for (const Namesake& run : runs.first(std::min(runs.size(), kListed))) {
    words.push_back(
        absl::StrCat(run.run_id, " (", StateName(run.state), ", submitted ", Age(run.age), ")"));
  }
  if (runs.size() > kListed) words.push_back(absl::StrCat(runs.size() - kListed, " older ones"));
  return absl::StrCat(Count(static_cast<int64_t>(runs.size()), "run"), " are named ", name, ": ",
                      JoinWords(words));
}

std::string DistinctName(const std::string& wanted, const std::set<std::string>& taken) {
  std::string name = wanted.substr(0, kLongestName);
  for (int64_t i = 2; taken.contains(name); ++i) {
    const std::string number = absl::StrCat("-", i);
    name = absl::StrCat(wanted.substr(0, kLongestName - number.size()), number);
  }
  return name;
}

}  // namespace tritter
