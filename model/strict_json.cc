#include "model/strict_json.h"

#include <exception>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/utf8.h"

namespace tritter {

using nlohmann::json;

namespace {
constexpr int kMaxDepth = 100;  // whoever walks through the values may recurse
}  // namespace

absl::StatusOr<json> ParseStrictJson(absl::string_view text, absl::string_view path) {
  if (!IsValidUtf8(text)) return absl::DataLossError(absl::StrCat(path, ": is not UTF-8"));
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string twice;
  bool deep = false;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    deep |= depth > kMaxDepth;
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const std::string& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second && twice.empty()) twice = key;
    }
    return true;
  };
  json root;
  try {
    root = json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  } catch (const std::exception& e) {  // no memory, for one
    return absl::DataLossError(absl::StrCat(path, ": ", e.what()));
  }
  if (deep)
    return absl::DataLossError(
        absl::StrCat(path, ": is nested deeper than ", kMaxDepth, " levels"));
  if (root.is_discarded())
    return absl::DataLossError(absl::StrCat(path, ": not JSON (truncated or damaged)"));
  if (!twice.empty())
    return absl::DataLossError(absl::StrCat(path, ": key `", twice, "` is given twice"));
  return root;
}

absl::StatusOr<json> ReadStrictJson(Env* env, const std::string& path, uint64_t max_bytes) {
  ASSIGN_OR_RETURN(const uint64_t bytes, env->FileSize(path));
  if (bytes > max_bytes) {
    return absl::DataLossError(
        absl::StrCat(path, ": has ", bytes, " bytes, expected at most ", max_bytes));
  }
  ASSIGN_OR_RETURN(const std::string text, env->ReadFile(path));
  return ParseStrictJson(text, path);
}

}  // namespace tritter
