// Keys of a strict YAML mapping as data: one row holds the key, what it takes, its default, its
// meaning and how it is read. The reader and the reference page are made from the same rows, so
// that neither can know a key the other lacks.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/yaml.h"

namespace tritter {

// One line of the reference page.
struct YamlKeyDoc {
  std::string path;      // "training.steps", "data.sources[].name"
  std::string type;      // "integer, 1 to 4096"
  std::string fallback;  // the default in words or as a value; "required"
  std::string meaning;
};

// A key of a mapping that is read into a T.
template <typename T>
struct YamlField {
  std::string key, type, fallback, meaning;
  std::function<void(YamlMap*, T*)>
      read;  // leaves T as it is when the key is absent; errors go to the document
};

// Reads every row. Keys without a row are left to YamlDocument::Finish, which refuses them.
template <typename T>
void ReadYamlFields(const std::vector<YamlField<T>>& fields, YamlMap* map, T* out) {
  for (const YamlField<T>& field : fields) field.read(map, out);
}

template <typename T>
void AppendKeyDocs(const std::vector<YamlField<T>>& fields, absl::string_view prefix,
                   std::vector<YamlKeyDoc>* out) {
  for (const YamlField<T>& f : fields)
    out->push_back({absl::StrCat(prefix, f.key), f.type, f.fallback, f.meaning});
}

inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
inline constexpr double kNoBound = std::numeric_limits<double>::infinity();

template <typename T, typename Class, typename Member>
YamlField<T> IntegerField(std::string key, Member Class::* member, int64_t min, int64_t max,
                          std::string fallback, std::string meaning) {
  const std::string type = max == kNoLimit ? absl::StrCat("integer, at least ", min)
                                           : absl::StrCat("integer, ", min, " to ", max);
  return {key, type, std::move(fallback), std::move(meaning), [=](YamlMap* map, T* out) {
            int64_t value = 0;
            if (map->Get(key, &value, min, max)) out->*member = value;
          }};
}

template <typename T, typename Class, typename Member>
YamlField<T> NumberField(std::string key, Member Class::* member, double min, double max,
                         std::string fallback, std::string meaning) {
  std::string type = "number";
  if (min != -kNoBound) absl::StrAppend(&type, max == kNoBound ? ", at least " : ", ", min);
  if (max != kNoBound) absl::StrAppend(&type, " to ", max);
  return {key, type, std::move(fallback), std::move(meaning), [=](YamlMap* map, T* out) {
            double value = 0;
            if (map->Get(key, &value, min, max)) out->*member = value;
          }};
}

template <typename T, typename Class, typename Member>
YamlField<T> BooleanField(std::string key, Member Class::* member, std::string fallback,
                          std::string meaning) {
  return {key, "true or false", std::move(fallback), std::move(meaning), [=](YamlMap* map, T* out) {
            bool value = false;
            if (map->Get(key, &value)) out->*member = value;
          }};
}

template <typename T, typename Class, typename Member>
YamlField<T> TextField(std::string key, Member Class::* member, std::string type,
                       std::string fallback, std::string meaning) {
  return {key, std::move(type), std::move(fallback), std::move(meaning), [=](YamlMap* map, T* out) {
            std::string value;
            if (map->Get(key, &value)) out->*member = value;
          }};
}

// One of `names`; the position in the list, cast to the member's value type, is stored.
template <typename T, typename Class, typename Enum>
YamlField<T> EnumField(std::string key, Enum Class::* member, std::vector<std::string> names,
                       std::string fallback, std::string meaning) {
  const std::string type = absl::StrCat("one of ", absl::StrJoin(names, ", "));
  return {key, type, std::move(fallback), std::move(meaning), [=](YamlMap* map, T* out) {
            const std::vector<absl::string_view> choices(names.begin(), names.end());
            std::string value;
            if (!map->GetChoice(key, choices, &value)) return;
            for (size_t i = 0; i < names.size(); ++i) {
              if (names[i] == value) out->*member = static_cast<Enum>(i);
            }
          }};
}

}  // namespace tritter
