#include "tritterctl/local/connecting_words.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tritter {

std::string ConnectingWords(const std::string& cause, const std::vector<std::string>& starting,
                            absl::Duration since_start) {
  constexpr absl::Duration kHeardOf = absl::Seconds(5);
  constexpr size_t kNamed = 4;
  // Whoever is busy, too small or of the wrong kind does not get better by waiting.
  constexpr const char* kForWorkers[] = {"undecided",       "no_workers",   "too_few_workers",
                                         "workers_leaving", "workers_lost", "settling"};
  if (!absl::c_linear_search(kForWorkers, cause)) return "";
  if (starting.empty()) return since_start < kHeardOf ? "waiting for the workers to connect" : "";
  if (starting.size() > kNamed)
    return absl::StrCat("waiting for ", starting.size(), " workers to connect");
  const std::vector<std::string> first(starting.begin(), starting.end() - 1);
  return absl::StrCat("waiting for ", absl::StrJoin(first, ", "), first.empty() ? "" : " and ",
                      starting.back(), " to connect");
}

}  // namespace tritter
