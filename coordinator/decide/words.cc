#include "coordinator/decide/words.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tritter {

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

}  // namespace tritter
