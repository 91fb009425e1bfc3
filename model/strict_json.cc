#include "model/strict_json.h"

#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/utf8.h"

namespace tritter {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 100;  // whoever walks through the values may recurse

// Builds the values as they are read, and stops at the first thing that is refused.
class StrictReader : public json::json_sax_t {
 public:
  json Take() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(number_integer_t value) override { return Put(value); }
  bool number_unsigned(number_unsigned_t value) override { return Put(value); }
  bool number_float(number_float_t value, const string_t&) override { return Put(value); }
  bool string(string_t& value) override { return Put(std::move(value)); }
  bool binary(binary_t& value) override { return Put(std::move(value)); }

  bool start_object(size_t) override { return Open(json::object()); }
  bool start_array(size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    const auto [place, made] = open_.back()->get_ref<json::object_t&>().try_emplace(name, nullptr);
    if (!made) return Refuse(absl::StrCat("key `", name, "` is given twice"));
    member_ = &place->second;
    return true;
  }
  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception&) override {
    return Refuse(absl::StrCat("not JSON (truncated or damaged) at byte ", byte));
  }

 private:
  bool Refuse(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }
  json* Place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *member_ = std::move(value);
    return member_;
  }
  bool Put(json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(json value) {
    if (open_.size() == kMaxDepth)
      return Refuse(absl::StrCat("is nested deeper than ", kMaxDepth, " levels"));
    open_.push_back(Place(std::move(value)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  json root_;
  std::vector<json*> open_;  // objects and arrays that are not closed: nothing moves them meanwhile
  json* member_ = nullptr;   // of the innermost object, the value that is to come
  std::string problem_;
};

}  // namespace

absl::StatusOr<json> ParseStrictJson(absl::string_view text, absl::string_view path) {
  if (!IsValidUtf8(text)) return absl::DataLossError(absl::StrCat(path, ": is not UTF-8"));
  StrictReader reader;
  try {
    if (json::sax_parse(text.begin(), text.end(), &reader)) return reader.Take();
  } catch (const std::exception& e) {  // no memory, for one
    return absl::DataLossError(absl::StrCat(path, ": ", e.what()));
  }
  return absl::DataLossError(absl::StrCat(path, ": ", reader.problem()));
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
