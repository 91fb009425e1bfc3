#include "tritterctl/local/run_difference.h"

#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tritter {
namespace {

// What a line is below, and how far that is indented.
struct Level {
  size_t indent;
  std::string path;
};

// Canonical YAML is a key and its value a line, two spaces a level, "- " before an item: that is
// all that is understood.
std::vector<std::pair<std::string, std::string>> Flatten(absl::string_view yaml) {
  std::vector<std::pair<std::string, std::string>> out;
  std::vector<Level> above;
  std::map<std::string, int> items;  // by path of the list
  for (absl::string_view line : absl::StrSplit(yaml, '\n')) {
    size_t indent = line.find_first_not_of(' ');
    if (indent == absl::string_view::npos) continue;
    line.remove_prefix(indent);
    const auto parent = [&] {
      while (!above.empty() && above.back().indent >= indent) above.pop_back();
      return above.empty() ? std::string() : above.back().path;
    };
    while (absl::ConsumePrefix(&line, "- ")) {
      const std::string list = parent();
      above.push_back({indent, absl::StrCat(list, "[", items[list]++, "]")});
      indent += 2;
    }
    std::string path = parent();
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    const bool opens = absl::EndsWith(line, ":");
    if (opens || line.size() > parts.first.size()) {
      const absl::string_view key = absl::StripSuffix(parts.first, ":");
      path = path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
    }
    if (opens) {
      above.push_back({indent, path});
    } else {
      out.emplace_back(path, line.size() > parts.first.size() ? parts.second : line);
    }
  }
  return out;
}

}  // namespace

std::vector<std::string> DifferingKeys(absl::string_view before, absl::string_view now) {
  const auto old_keys = Flatten(before), new_keys = Flatten(now);
  const std::map<std::string, std::string> was(old_keys.begin(), old_keys.end());
  const std::map<std::string, std::string> is(new_keys.begin(), new_keys.end());
  std::vector<std::string> out;
  for (const auto& [key, value] : new_keys) {
    const auto it = was.find(key);
    if (it == was.end()) {
      out.push_back(absl::StrCat(key, " (is new)"));
    } else if (it->second != value) {
      out.push_back(absl::StrCat(key, " (was ", it->second, ", is ", value, ")"));
    }
  }
  for (const auto& [key, value] : old_keys) {
    if (!is.contains(key)) out.push_back(absl::StrCat(key, " (is gone)"));
  }
  return out;
}

std::string DifferenceText(const std::vector<std::string>& keys, size_t most) {
  if (keys.size() <= most) return absl::StrJoin(keys, ", ");
  return absl::StrCat(absl::StrJoin(keys.begin(), keys.begin() + most, ", "), " and ",
                      keys.size() - most, " more");
}

}  // namespace tritter
