#include "coordinator/decide/words.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace tritter {
namespace {

std::string Newest(int64_t committed) {
  return committed == 0 ? "newest checkpoint: none"
                        : absl::StrCat("newest checkpoint: step ", committed);
}

}  // namespace

std::string Count(int64_t n, absl::string_view noun) {
  return absl::StrCat(n, " ", noun, n == 1 ? "" : "s");
}

std::string Seconds(absl::Duration d) {
  const double s = absl::ToDoubleSeconds(d);
  if (s >= 180) return absl::StrFormat("%.0f min", s / 60);
  return s < 3 ? absl::StrFormat("%.1f s", s) : absl::StrFormat("%.0f s", s);
}

std::string Ago(absl::Duration d) { return absl::StrCat(Seconds(d), " ago"); }

std::string Bytes(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  if (mib < 1) return absl::StrFormat("%.0f KiB", mib * 1024);
  if (mib < 10) return absl::StrFormat("%.1f MiB", mib);
  return mib < 1024 ? absl::StrFormat("%.0f MiB", mib) : absl::StrFormat("%.1f GiB", mib / 1024);
}

std::string JoinWords(const std::vector<std::string>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " and " : ", ";
    out += words[i];
  }
  return out;
}

std::string NamedWorker(absl::string_view name) {
  return absl::StartsWith(name, "worker") ? std::string(name) : absl::StrCat("worker ", name);
}

std::string NamedWorkers(const std::vector<std::string>& names) {
  const bool told = std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return absl::StartsWith(name, "worker");
  });
  return absl::StrCat(told ? "" : names.size() == 1 ? "worker " : "workers ", JoinWords(names));
}

std::string TriesAgain(absl::Duration after, int64_t failures, int64_t budget) {
  return absl::StrCat("tries again in ", Seconds(after), " (", Count(failures, "epoch"),
                      failures == 1 ? "" : " in a row", " made no progress, it gives up after ",
                      budget, ")");
}

std::string GoesOnWords(const std::vector<std::string>& holders, int64_t step, int64_t committed) {
  if (holders.empty()) return absl::StrCat("it goes on from its checkpoint of step ", committed);
  return absl::StrCat("it goes on from step ", step, ", which ", JoinWords(holders),
                      holders.size() == 1 ? " holds" : " hold", " in memory (", Newest(committed),
                      ")");
}

std::string GivenUpWords(const std::vector<std::string>& workers, const std::string& to,
                         int64_t step, int64_t left, int64_t committed) {
  const bool one = workers.size() == 1;
  const std::string steps = left + 1 == step
                                ? absl::StrCat("step ", step, " is")
                                : absl::StrCat("steps ", left + 1, " to ", step, " are");
  return absl::StrCat(JoinWords(workers), one ? " goes" : " go", " to run ", to, ", and with ",
                      one ? "it" : "them", " the state of step ", step, " in ",
                      one ? "its" : "their", " memory: ", steps,
                      " trained again when the run goes on (", Newest(committed), ")");
}

std::string WithoutAges(absl::string_view text) {
  constexpr absl::string_view kAgo = " ago";
  std::string out;
  for (;;) {
    const size_t at = text.find(kAgo);
    if (at == text.npos) return absl::StrCat(out, text);
    absl::string_view before = text.substr(0, at);
    const bool unit = absl::ConsumeSuffix(&before, " s") || absl::ConsumeSuffix(&before, " min");
    size_t begin = before.size();
    while (begin > 0 && (absl::ascii_isdigit(before[begin - 1]) || before[begin - 1] == '.'))
      --begin;
    const bool age = unit && begin > 0 && begin < before.size() && before[begin - 1] == ' ';
    absl::StrAppend(&out, age ? before.substr(0, begin - 1) : text.substr(0, at + kAgo.size()));
    text.remove_prefix(at + kAgo.size());
  }
}

}  // namespace tritter
