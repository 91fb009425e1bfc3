#include "model/text/template_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "model/utf8.h"

namespace tritter {
namespace {

using nlohmann::ordered_json;
using Type = TemplateValue::Type;

std::string FloatText(double f) {
  if (std::isnan(f)) return "nan";
  if (std::isinf(f)) return f > 0 ? "inf" : "-inf";
  char buffer[40];
  const double size = std::abs(f);
  const auto format = f == 0 || (size >= 1e-4 && size < 1e16) ? std::chars_format::fixed
                                                              : std::chars_format::scientific;
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), f, format).ptr;
  std::string out(buffer, end);
  if (format == std::chars_format::fixed && !absl::StrContains(out, '.')) out += ".0";
  return out;
}

std::string TextRepr(const std::string& text) {
  const char quote = absl::StrContains(text, '\'') && !absl::StrContains(text, '"') ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      out.append({'\\', c});
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<uint8_t>(c));
    } else {
      out += c;
    }
  }
  return out + quote;
}

bool IsPythonSpace(absl::string_view c) {
  if (c.size() == 1) return (c[0] >= 0x09 && c[0] <= 0x0D) || (c[0] >= 0x1C && c[0] <= 0x20);
  for (absl::string_view space :
       {"\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005",
        "\u2006", "\u2007", "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f",
        "\u3000"}) {
    if (c == space) return true;
  }
  return false;
}

absl::Status Dump(const TemplateValue& v, int indent, int depth, std::string* out) {
  const auto line = [&](int levels) {
    if (indent >= 0) absl::StrAppend(out, "\n", std::string(indent * levels, ' '));
  };
  const char* comma = indent >= 0 ? "," : ", ";
  switch (v.type()) {
    case Type::kNone:
      *out += "null";
      return absl::OkStatus();
    case Type::kBool:
      *out += v.as_int() != 0 ? "true" : "false";
      return absl::OkStatus();
    case Type::kInt:
    case Type::kFloat:
      *out += v.Printed();
      return absl::OkStatus();
    case Type::kText:
      *out +=
          nlohmann::json(v.text()).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      return absl::OkStatus();
    case Type::kList:
      if (v.list().empty()) break;
      *out += "[";
      for (size_t i = 0; i < v.list().size(); ++i) {
        if (i > 0) *out += comma;
        line(depth + 1);
        RETURN_IF_ERROR(Dump(v.list()[i], indent, depth + 1, out));
      }
      line(depth);
      *out += "]";
      return absl::OkStatus();
    case Type::kMap:
      if (v.map().empty()) break;
      *out += "{";
      for (size_t i = 0; i < v.map().size(); ++i) {
        if (i > 0) *out += comma;
        line(depth + 1);
        RETURN_IF_ERROR(Dump(TemplateValue::Text(v.map()[i].first), indent, depth + 1, out));
        *out += ": ";
        RETURN_IF_ERROR(Dump(v.map()[i].second, indent, depth + 1, out));
      }
      line(depth);
      *out += "}";
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(absl::StrCat(v.TypeName(), " has no form in JSON"));
  }
  *out += v.is_list() ? "[]" : "{}";
  return absl::OkStatus();
}

}  // namespace

bool NestedWithin(const ordered_json& json, int depth) {
  if (!json.is_structured()) return true;
  if (depth == 0) return false;
  return std::all_of(json.begin(), json.end(),
                     [depth](const ordered_json& item) { return NestedWithin(item, depth - 1); });
}

// At most 2^46 once everything that is built is kept below what is allowed: no overflow.
void TemplateValue::Count(const TemplateValue& member) {
  weight_ += member.weight_;
  depth_ = std::max(depth_, member.depth_ + 1);
}

TemplateValue TemplateValue::Bool(bool b) {
  TemplateValue v(Type::kBool);
  v.int_ = b;
  return v;
}
TemplateValue TemplateValue::Int(int64_t i) {
  TemplateValue v(Type::kInt);
  v.int_ = i;
  return v;
}
TemplateValue TemplateValue::Float(double f) {
  TemplateValue v(Type::kFloat);
  v.float_ = f;
  return v;
}
TemplateValue TemplateValue::Text(std::string text) {
  TemplateValue v(Type::kText);
  v.weight_ += static_cast<int64_t>(text.size());
  v.text_ = std::make_shared<const std::string>(std::move(text));
  return v;
}
TemplateValue TemplateValue::List(TemplateList list) {
  TemplateValue v(Type::kList);
  for (const TemplateValue& item : list) v.Count(item);
  v.list_ = std::make_shared<const TemplateList>(std::move(list));
  return v;
}
TemplateValue TemplateValue::Map(TemplateMap map) {
  TemplateValue v(Type::kMap);
  for (const auto& [key, value] : map) {
    v.weight_ += static_cast<int64_t>(key.size());
    v.Count(value);
  }
  v.map_ = std::make_shared<TemplateMap>(std::move(map));
  return v;
}
TemplateValue TemplateValue::Namespace(TemplateMap map) {
  TemplateValue v = Map(std::move(map));
  v.type_ = Type::kNamespace;
  return v;
}
TemplateValue TemplateValue::Function(std::string name) {
  TemplateValue v = Text(std::move(name));
  v.type_ = Type::kFunction;
  return v;
}

TemplateValue TemplateValue::FromJson(const ordered_json& json) {
  switch (json.type()) {
    case ordered_json::value_t::boolean:
      return Bool(json.get<bool>());
    case ordered_json::value_t::number_integer:
    case ordered_json::value_t::number_unsigned:
      return Int(json.get<int64_t>());
    case ordered_json::value_t::number_float:
      return Float(json.get<double>());
    case ordered_json::value_t::string:
      return Text(json.get<std::string>());
    case ordered_json::value_t::array: {
      TemplateList list;
      for (const ordered_json& item : json) list.push_back(FromJson(item));
      return List(std::move(list));
    }
    case ordered_json::value_t::object: {
      TemplateMap map;
      for (const auto& item : json.items()) map.emplace_back(item.key(), FromJson(item.value()));
      return Map(std::move(map));
    }
    default:
      return None();
  }
}

const TemplateValue* TemplateValue::Find(absl::string_view key) const {
  for (const auto& [name, value] : *map_) {
    if (name == key) return &value;
  }
  return nullptr;
}

void TemplateValue::SetMember(const std::string& key, TemplateValue value) {
  for (auto& [name, old] : *map_) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  map_->emplace_back(key, std::move(value));
}

bool TemplateValue::Truth() const {
  switch (type_) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInt:
      return int_ != 0;
    case Type::kFloat:
      return float_ != 0;
    case Type::kText:
      return !text_->empty();
    case Type::kList:
      return !list_->empty();
    case Type::kMap:
      return !map_->empty();
    case Type::kNamespace:
    case Type::kFunction:
      return true;
  }
  return false;
}

bool TemplateValue::Equals(const TemplateValue& other) const {
  if (whole() && other.whole()) return int_ == other.int_;
  if (number() && other.number()) return as_double() == other.as_double();
  if (type_ != other.type_) return false;
  switch (type_) {
    case Type::kText:
    case Type::kFunction:
      return *text_ == *other.text_;
    case Type::kNamespace:
      return map_ == other.map_;
    case Type::kList:
      if (list_->size() != other.list_->size()) return false;
      for (size_t i = 0; i < list_->size(); ++i) {
        if (!(*list_)[i].Equals((*other.list_)[i])) return false;
      }
      return true;
    case Type::kMap:
      if (map_->size() != other.map_->size()) return false;
      for (const auto& [key, value] : *map_) {
        const TemplateValue* found = other.Find(key);
        if (found == nullptr || !value.Equals(*found)) return false;
      }
      return true;
    default:
      return true;
  }
}

std::string TemplateValue::Printed() const {
  switch (type_) {
    case Type::kUndefined:
      return "";
    case Type::kText:
      return *text_;
    default:
      return Repr();
  }
}

std::string TemplateValue::Repr() const {
  std::string out;
  switch (type_) {
    case Type::kUndefined:
      return "Undefined";
    case Type::kNone:
      return "None";
    case Type::kBool:
      return int_ != 0 ? "True" : "False";
    case Type::kInt:
      return absl::StrCat(int_);
    case Type::kFloat:
      return FloatText(float_);
    case Type::kText:
      return TextRepr(*text_);
    case Type::kList:
      for (const TemplateValue& item : *list_)
        absl::StrAppend(&out, out.empty() ? "" : ", ", item.Repr());
      return absl::StrCat("[", out, "]");
    case Type::kMap:
      for (const auto& [key, value] : *map_)
        absl::StrAppend(&out, out.empty() ? "" : ", ", TextRepr(key), ": ", value.Repr());
      return absl::StrCat("{", out, "}");
    case Type::kNamespace:
      return "<Namespace>";
    case Type::kFunction:
      return absl::StrCat("<function ", *text_, ">");
  }
  return out;
}

const char* TemplateValue::TypeName() const {
  static constexpr const char* kNames[] = {
      "an undefined value", "none",      "a truth value", "a whole number",
      "a number",           "a text",    "a list",        "a map",
      "a namespace",        "a function"};
  return kNames[static_cast<int>(type_)];
}

absl::StatusOr<std::string> TemplateJson(const TemplateValue& value, int indent) {
  std::string out;
  RETURN_IF_ERROR(Dump(value, indent, 0, &out));
  return out;
}

size_t PythonSpaceAtBeginning(absl::string_view text) {
  if (text.empty()) return 0;
  const size_t size = ScanUtf8(text).length;
  return IsPythonSpace(text.substr(0, size)) ? size : 0;
}

size_t PythonSpaceAtEnd(absl::string_view text) {
  if (text.empty()) return 0;
  size_t begin = text.size() - 1;
  while (begin > 0 && text.size() - begin < 4 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80)
    --begin;
  return IsPythonSpace(text.substr(begin)) ? text.size() - begin : 0;
}

std::vector<std::string> CharactersOf(absl::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t size = ScanUtf8(text).length;
    out.emplace_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return out;
}

}  // namespace tritter
