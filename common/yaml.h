// Strict YAML (yaml-cpp behind it): unknown, duplicate and misspelt keys, wrong types, extra
// documents and values out of range are errors of the form
//   file:line:col: path: message (did you mean …?)
// Usage:
//   ASSIGN_OR_RETURN(YamlDocument doc, YamlDocument::Parse(text, "run.yaml"));
//   YamlMap root = doc.Root();
//   root.Get("name", &spec.name);                      // optional: leaves the default when absent
//   root.Require("model");
//   YamlMap model = root.Map("model");                 // empty map when absent (model.present()
//   false) model.Get("hidden", &h, 1, 1 << 20); for (YamlMap& s :
//   root.Map("data").MapList("sources")) … RETURN_IF_ERROR(doc.Finish());                     //
//   unknown keys and every error found, all at once
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

namespace yaml_internal {
struct State;
struct NodeRef;
}  // namespace yaml_internal

// A mapping that remembers which keys were asked for. Cheap to copy; valid while its YamlDocument
// lives. Types are strict: a string that reads as a number, true, false or null must be quoted in
// the file, and a quoted number is a string. Not thread-safe. Readers collect errors in the
// document and go on, so that one run of validation reports them all.
inline constexpr size_t kMaxYamlBytes = 1 << 20;  // of a text that is read

class YamlMap {
 public:
  bool present() const;                      // the mapping was written in the file
  bool Has(absl::string_view key) const;     // does not mark the key as known
  bool IsList(absl::string_view key) const;  // nor does this
  std::vector<std::string> Keys() const;     // in file order
  std::string Path() const;                  // "model.heads"; "" for the root
  std::string Where() const;                 // "run.yaml:3:5"

  // Each returns true when the key was there with a valid value. Key present with null is an error.
  bool Get(absl::string_view key, std::string* out);
  bool Get(absl::string_view key, bool* out);
  bool Get(absl::string_view key, int64_t* out, int64_t min = std::numeric_limits<int64_t>::min(),
           int64_t max = std::numeric_limits<int64_t>::max());
  bool Get(absl::string_view key, int* out, int min = std::numeric_limits<int>::min(),
           int max = std::numeric_limits<int>::max());
  bool Get(absl::string_view key, double* out,
           double min = -std::numeric_limits<double>::infinity(),
           double max = std::numeric_limits<double>::infinity());
  bool Get(absl::string_view key, std::vector<std::string>* out);
  template <typename T>
  bool Get(absl::string_view key, std::optional<T>* out) {
    T v{};
    if (!Get(key, &v)) return false;
    *out = std::move(v);
    return true;
  }
  // One of `choices`, else an error that lists them (and suggests the nearest).
  bool GetChoice(absl::string_view key, absl::Span<const absl::string_view> choices,
                 std::string* out);
  // An integer, or a percentage written `20%` (then *fraction = 0.2 and *value is untouched).
  // Where `word` is given it may stand there too (then *is_word is set and the rest untouched).
  bool GetCountOrPercent(absl::string_view key, int64_t* value, std::optional<double>* fraction,
                         absl::string_view word = "", bool* is_word = nullptr);

  YamlMap Map(absl::string_view key);  // nested mapping; not present() when absent
  // List of mappings; of a longer one the first `at_most`, and an error.
  std::vector<YamlMap> MapList(absl::string_view key,
                               size_t at_most = std::numeric_limits<size_t>::max());
  void Require(absl::string_view key);  // error "required key is missing" unless present
  void Skip(absl::string_view key);     // known, but not read: whatever is below it is accepted

  // Adds an error at `key`'s value (or at the mapping when absent/empty): file:line:col: path.key:
  // message.
  void Error(absl::string_view key, absl::string_view message);

 private:
  friend class YamlDocument;
  explicit YamlMap(std::shared_ptr<const yaml_internal::NodeRef> ref) : ref_(std::move(ref)) {}

  std::shared_ptr<const yaml_internal::NodeRef> ref_;
};

class YamlDocument {
 public:
  // Errors: InvalidArgument for a syntax error, an empty text, a root that is not a mapping, more
  // than one document, more than 1 MiB, nesting deeper than 64. Anchors, aliases, merge keys, tags
  // and duplicate keys are reported by Finish with the rest.
  static absl::StatusOr<YamlDocument> Parse(absl::string_view text, absl::string_view file_name);
  YamlMap Root();
  // InvalidArgument with every error, one a line, in file order; keys nobody asked for are errors
  // with a suggestion from the keys that were asked for in that mapping.
  absl::Status Finish();

 private:
  explicit YamlDocument(std::shared_ptr<yaml_internal::State> state) : state_(std::move(state)) {}

  std::shared_ptr<yaml_internal::State> state_;
};

}  // namespace tritter
