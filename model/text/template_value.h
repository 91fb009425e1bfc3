// Values of chat templates: Python's, as far as Jinja's templates of models use them.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

inline constexpr int kMaxTemplateDepth = 100;  // of lists and maps in each other
bool NestedWithin(const nlohmann::ordered_json& json, int depth);

class TemplateValue;
using TemplateList = std::vector<TemplateValue>;
// In order of insertion; keys are texts.
using TemplateMap = std::vector<std::pair<std::string, TemplateValue>>;

// Cheap to copy; lists, maps and texts are shared and, namespaces apart, never changed.
class TemplateValue {
 public:
  enum class Type {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kText,
    kList,
    kMap,
    kNamespace,
    kFunction
  };

  TemplateValue() = default;
  static TemplateValue None() { return TemplateValue(Type::kNone); }
  static TemplateValue Bool(bool b);
  static TemplateValue Int(int64_t i);
  static TemplateValue Float(double f);
  static TemplateValue Text(std::string text);
  static TemplateValue List(TemplateList list);
  static TemplateValue Map(TemplateMap map);
  static TemplateValue Namespace(TemplateMap map);
  static TemplateValue Function(std::string name);
  // `json` is nested at most kMaxTemplateDepth deep (NestedWithin).
  static TemplateValue FromJson(const nlohmann::ordered_json& json);

  Type type() const { return type_; }
  bool undefined() const { return type_ == Type::kUndefined; }
  bool none() const { return type_ == Type::kNone; }
  bool is_text() const { return type_ == Type::kText; }
  bool is_list() const { return type_ == Type::kList; }
  bool is_map() const { return type_ == Type::kMap; }
  bool whole() const { return type_ == Type::kInt || type_ == Type::kBool; }
  bool number() const { return whole() || type_ == Type::kFloat; }

  int64_t as_int() const { return int_; }  // of kInt and kBool
  double as_double() const { return type_ == Type::kFloat ? float_ : static_cast<double>(int_); }
  const std::string& text() const { return *text_; }  // also the name of kFunction
  const TemplateList& list() const { return *list_; }
  const TemplateMap& map() const { return *map_; }              // also of kNamespace
  const TemplateValue* Find(absl::string_view key) const;       // in a map or namespace; null: none
  void SetMember(const std::string& key, TemplateValue value);  // of kNamespace

  // Of the whole tree, shared parts counted wherever they are seen: what printing or comparing it
  // costs, and how deep that recurses. Whoever builds values checks them.
  int64_t weight() const { return weight_; }
  int depth() const { return depth_; }

  bool Truth() const;
  bool Equals(const TemplateValue& other) const;
  std::string Printed() const;  // str(x)
  std::string Repr() const;     // repr(x)
  const char* TypeName() const;

 private:
  explicit TemplateValue(Type type) : type_(type) {}

  void Count(const TemplateValue& member);

  Type type_ = Type::kUndefined;
  int depth_ = 1;
  int64_t weight_ = 1;
  int64_t int_ = 0;
  double float_ = 0;
  std::shared_ptr<const std::string> text_;
  std::shared_ptr<const TemplateList> list_;
  std::shared_ptr<TemplateMap> map_;
};

// json.dumps(value, ensure_ascii=False, indent=indent); `indent` < 0: on one line. Errors:
// InvalidArgument for what JSON has no form of.
absl::StatusOr<std::string> TemplateJson(const TemplateValue& value, int indent);

// Python's whitespace: what str.strip takes off. `bytes` of the character at either end, 0: none.
size_t PythonSpaceAtBeginning(absl::string_view text);
size_t PythonSpaceAtEnd(absl::string_view text);
std::vector<std::string> CharactersOf(absl::string_view text);

}  // namespace tritter
