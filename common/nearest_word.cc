#include "common/nearest_word.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/strings/ascii.h"

namespace tritter {
namespace {

// Edits that turn a into b: insert, delete, replace, and swap of neighbours (optimal string
// alignment).
int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string NearestWord(absl::string_view word, absl::Span<const std::string> candidates) {
  constexpr size_t kLongest = 64;  // of a word worth comparing: the cost is quadratic
  if (word.empty() || word.size() > kLongest) return "";
  const std::string lower = absl::AsciiStrToLower(word);
  std::string best;
  int best_distance = 1 + (word.size() <= 3 ? 1 : word.size() <= 8 ? 2 : 3);
  for (const std::string& candidate : candidates) {
    if (candidate.empty() || candidate.size() > kLongest) continue;
    const int distance = EditDistance(lower, absl::AsciiStrToLower(candidate));
    // A word of which everything would change is not a misspelling.
    if (distance < best_distance && distance < static_cast<int>(candidate.size())) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace tritter
