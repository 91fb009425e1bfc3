#include "model/text/template_functions.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

using Value = TemplateValue;
using ValueOr = absl::StatusOr<Value>;
using Type = Value::Type;

absl::Status Unfit(absl::string_view what, const Value& value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, " is given ", value.TypeName(), ", expected ", expected));
}

absl::Status TooLarge() {
  return absl::ResourceExhaustedError(absl::StrCat("a text or list is larger than ",
                                                   kMaxTemplateBytes, " bytes or ",
                                                   kMaxTemplateItems, " items"));
}

ValueOr TextValue(std::string text) {
  if (text.size() > kMaxTemplateBytes) return TooLarge();
  return Value::Text(std::move(text));
}

ValueOr ListValue(TemplateList list) {
  if (list.size() > kMaxTemplateItems) return TooLarge();
  return Value::List(std::move(list));
}

// Letters of ASCII alone: what templates change are roles and names.
absl::StatusOr<std::string> Cased(const std::string& name, const std::string& text) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) >= 0x80; }))
    return absl::UnimplementedError(
        absl::StrCat("`", name, "` of a text with letters beyond ASCII is not supported"));
  if (name == "upper") return absl::AsciiStrToUpper(text);
  std::string out = absl::AsciiStrToLower(text);
  if (name == "lower") return out;
  bool begins = true;
  for (char& c : out) {
    if (begins) c = absl::ascii_toupper(c);
    begins = name == "title" && !absl::ascii_isalpha(c);
  }
  return out;
}

// strip, lstrip, rstrip; `set`: characters, or undefined or none for whitespace.
absl::StatusOr<std::string> Stripped(absl::string_view name, absl::string_view text,
                                     const Value& set) {
  const bool left = name != "rstrip", right = name != "lstrip";
  if (set.undefined() || set.none()) {
    if (left)
      while (const size_t space = PythonSpaceAtBeginning(text)) text.remove_prefix(space);
    if (right)
      while (const size_t space = PythonSpaceAtEnd(text)) text.remove_suffix(space);
    return std::string(text);
  }
  if (!set.is_text()) return Unfit(name, set, "a text");
  const std::vector<std::string> taken = CharactersOf(set.text());
  const auto strip = [&](bool begin) {
    for (bool found = true; found;) {
      found = false;
      for (const std::string& c : taken) {
        if (!(begin ? absl::StartsWith(text, c) : absl::EndsWith(text, c))) continue;
        begin ? text.remove_prefix(c.size()) : text.remove_suffix(c.size());
        found = true;
        break;
      }
    }
  };
  if (left) strip(true);
  if (right) strip(false);
  return std::string(text);
}

ValueOr Split(absl::string_view text, const TemplateArguments& a) {
  const Value by = a.Get(0, "sep"), most = a.Get(1, "maxsplit");
  if (!most.undefined() && !most.whole()) return Unfit("split", most, "a whole number");
  int64_t left =
      most.undefined() || most.as_int() < 0 ? std::numeric_limits<int64_t>::max() : most.as_int();
  TemplateList out;
  if (by.undefined() || by.none()) {
    while (true) {
      while (const size_t space = PythonSpaceAtBeginning(text)) text.remove_prefix(space);
      if (text.empty()) break;
      size_t end = 0;
      if (left-- > 0) {
        while (end < text.size() && PythonSpaceAtBeginning(text.substr(end)) == 0) ++end;
      } else {
        while (const size_t space = PythonSpaceAtEnd(text)) text.remove_suffix(space);
        end = text.size();
      }
      out.push_back(Value::Text(std::string(text.substr(0, end))));
      text.remove_prefix(end);
      if (out.size() > kMaxTemplateItems) return TooLarge();
    }
    return ListValue(std::move(out));
  }
  if (!by.is_text() || by.text().empty()) return Unfit("split", by, "a text that is not empty");
  while (true) {
    const size_t at = left-- > 0 ? text.find(by.text()) : text.npos;
    out.push_back(Value::Text(std::string(text.substr(0, at))));
    if (out.size() > kMaxTemplateItems) return TooLarge();
    if (at == text.npos) return ListValue(std::move(out));
    text.remove_prefix(at + by.text().size());
  }
}

ValueOr Replaced(const Value& value, const TemplateArguments& a) {
  const Value from = a.Get(0, "old"), to = a.Get(1, "new");
  if (!from.is_text() || from.text().empty() || !to.is_text() || a.values.size() > 2)
    return absl::InvalidArgumentError("`replace` needs two texts, the first not empty");
  const std::string& text = value.text();
  size_t count = 0;
  for (size_t at = text.find(from.text()); at != text.npos;
       at = text.find(from.text(), at + from.text().size())) {
    ++count;
  }
  if (to.text().size() > from.text().size() &&
      count > kMaxTemplateBytes / (to.text().size() - from.text().size())) {
    return TooLarge();
  }
  return TextValue(absl::StrReplaceAll(text, {{from.text(), to.text()}}));
}

TemplateList Pairs(const Value& map) {
  TemplateList out;
  for (const auto& [key, value] : map.map()) out.push_back(Value::List({Value::Text(key), value}));
  return out;
}

ValueOr Join(const Value& value, const TemplateArguments& a) {
  ASSIGN_OR_RETURN(const TemplateList items, ItemsToLoop(value));
  const std::string between = a.Get(0, "d").Printed();
  const Value attribute = a.Get(1, "attribute");
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    Value item = items[i];
    if (!attribute.undefined()) {
      ASSIGN_OR_RETURN(item, ItemOf(items[i], attribute));
    }
    absl::StrAppend(&out, i > 0 ? between : "", item.Printed());
    if (out.size() > kMaxTemplateBytes) return TooLarge();
  }
  return TextValue(std::move(out));
}

// select, reject, selectattr, rejectattr.
ValueOr Selected(const std::string& name, const Value& value, const TemplateArguments& a) {
  const bool attribute = absl::EndsWith(name, "attr"), wanted = absl::StartsWith(name, "select");
  const size_t first = attribute ? 1 : 0;
  if (a.values.size() < first) return absl::InvalidArgumentError("`" + name + "` needs a name");
  TemplateArguments rest;
  for (size_t i = first + 1; i < a.values.size(); ++i) rest.values.push_back(a.values[i]);
  const Value test = a.Get(first, "");
  if (!test.undefined() && !test.is_text()) return Unfit(name, test, "the name of a test");
  ASSIGN_OR_RETURN(const TemplateList items, ItemsToLoop(value));
  TemplateList out;
  for (const Value& item : items) {
    Value subject = item;
    if (attribute) {
      ASSIGN_OR_RETURN(subject, ItemOf(item, a.values[0]));
    }
    bool holds = subject.Truth();
    if (!test.undefined()) {
      ASSIGN_OR_RETURN(holds, ApplyTest(test.text(), subject, rest));
    }
    if (holds == wanted) out.push_back(item);
  }
  return ListValue(std::move(out));
}

ValueOr Mapped(const Value& value, const TemplateArguments& a) {
  ASSIGN_OR_RETURN(const TemplateList items, ItemsToLoop(value));
  const Value attribute = a.Get(99, "attribute"), filter = a.Get(0, "");
  TemplateList out;
  for (const Value& item : items) {
    if (attribute.is_text()) {
      ASSIGN_OR_RETURN(Value member, ItemOf(item, attribute));
      out.push_back(std::move(member));
    } else if (filter.is_text()) {
      TemplateArguments rest = a;
      rest.values.erase(rest.values.begin());
      ASSIGN_OR_RETURN(Value made, ApplyFilter(filter.text(), item, rest));
      out.push_back(std::move(made));
    } else {
      return absl::InvalidArgumentError("`map` needs `attribute` or the name of a filter");
    }
  }
  return ListValue(std::move(out));
}

ValueOr Length(const Value& value) {
  if (value.is_text())
    return Value::Int(std::count_if(value.text().begin(), value.text().end(), [](char c) {
      return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
    }));
  if (value.is_list()) return Value::Int(static_cast<int64_t>(value.list().size()));
  if (value.is_map()) return Value::Int(static_cast<int64_t>(value.map().size()));
  if (value.undefined()) return Value::Int(0);
  return Unfit("length", value, "a text, list or map");
}

ValueOr Number(const std::string& name, const Value& value) {
  double real = 0;
  if (name == "int") {
    int64_t whole = 0;
    if (value.whole()) return Value::Int(value.as_int());
    if (value.is_text() && absl::SimpleAtoi(value.text(), &whole)) return Value::Int(whole);
  }
  if (value.number()) real = value.as_double();
  if (value.is_text() && !absl::SimpleAtod(value.text(), &real)) real = 0;
  if (name == "float") return Value::Float(real);
  if (!(std::abs(real) < 9e18)) return absl::InvalidArgumentError("the number is too large");
  return Value::Int(static_cast<int64_t>(real));
}

// Python's floor division and its remainder.
ValueOr Divided(const std::string& name, const Value& l, const Value& r) {
  if (r.as_double() == 0) return absl::InvalidArgumentError("division by zero");
  if (name == "/") return Value::Float(l.as_double() / r.as_double());
  if (!l.whole() || !r.whole()) {
    const double quotient = std::floor(l.as_double() / r.as_double());
    return Value::Float(name == "//" ? quotient : l.as_double() - quotient * r.as_double());
  }
  const int64_t a = l.as_int(), b = r.as_int();
  if (b == -1) return name == "//" ? ApplyOperator("-", Value::Int(0), l) : Value::Int(0);
  const int64_t quotient = a / b - (a % b != 0 && (a < 0) != (b < 0));
  return Value::Int(name == "//" ? quotient : a - quotient * b);
}

ValueOr Compared(const std::string& name, const Value& l, const Value& r) {
  int order = 0;
  if (l.number() && r.number()) {
    order = l.as_double() < r.as_double() ? -1 : l.as_double() > r.as_double();
  } else if (l.is_text() && r.is_text()) {
    order = l.text().compare(r.text());
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("`", name, "` of ", l.TypeName(), " and ", r.TypeName()));
  }
  if (name == "<") return Value::Bool(order < 0);
  if (name == "<=") return Value::Bool(order <= 0);
  if (name == ">") return Value::Bool(order > 0);
  return Value::Bool(order >= 0);
}

absl::StatusOr<bool> Contains(const Value& item, const Value& in) {
  if (in.is_text()) {
    if (!item.is_text()) return Unfit("`in` a text", item, "a text");
    return absl::StrContains(in.text(), item.text());
  }
  if (in.is_map()) return item.is_text() && in.Find(item.text()) != nullptr;
  ASSIGN_OR_RETURN(const TemplateList items, ItemsToLoop(in));
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return v.Equals(item); });
}

ValueOr Repeated(const Value& of, int64_t times) {
  times = std::max<int64_t>(times, 0);
  const size_t size = of.is_text() ? of.text().size() : of.list().size();
  const size_t most = of.is_text() ? kMaxTemplateBytes : kMaxTemplateItems;
  if (size > 0 && static_cast<uint64_t>(times) > most / size) return TooLarge();
  std::string text;
  TemplateList list;
  for (int64_t i = 0; i < times && size > 0; ++i) {
    if (of.is_text()) {
      text += of.text();
    } else {
      list.insert(list.end(), of.list().begin(), of.list().end());
    }
  }
  return of.is_text() ? TextValue(std::move(text)) : ListValue(std::move(list));
}

absl::StatusOr<int> Indent(const Value& value) {
  if (value.undefined() || value.none()) return -1;
  if (!value.whole() || value.as_int() < 0 || value.as_int() > 16)
    return Unfit("tojson's indent", value, "0 to 16");
  return static_cast<int>(value.as_int());
}

bool IsStripName(const std::string& name) {
  return name == "strip" || name == "lstrip" || name == "rstrip";
}
bool IsCaseName(const std::string& name) {
  return name == "upper" || name == "lower" || name == "capitalize" || name == "title";
}

}  // namespace

Value TemplateArguments::Get(size_t index, absl::string_view name) const {
  if (index < values.size()) return values[index];
  for (const auto& [key, value] : named) {
    if (key == name) return value;
  }
  return Value();
}

ValueOr ApplyFilter(const std::string& name, const Value& value, const TemplateArguments& a) {
  if (name == "trim") {
    ASSIGN_OR_RETURN(std::string text, Stripped("strip", value.Printed(), a.Get(0, "chars")));
    return TextValue(std::move(text));
  }
  if (IsCaseName(name)) {
    ASSIGN_OR_RETURN(std::string text, Cased(name, value.Printed()));
    return TextValue(std::move(text));
  }
  if (name == "tojson") {
    ASSIGN_OR_RETURN(const int indent, Indent(a.Get(99, "indent")));
    ASSIGN_OR_RETURN(std::string text, TemplateJson(value, indent));
    return TextValue(std::move(text));
  }
  if (name == "default" || name == "d") {
    const bool use = value.undefined() || (a.Get(1, "boolean").Truth() && !value.Truth());
    if (!use) return value;
    const Value other = a.Get(0, "default_value");
    return other.undefined() ? Value::Text("") : other;
  }
  if (name == "length" || name == "count") return Length(value);
  if (name == "join") return Join(value, a);
  if (name == "string") return TextValue(value.Printed());
  if (name == "safe") return value;
  if (name == "int" || name == "float") return Number(name, value);
  if (name == "abs" && value.number())
    return value.Truth() && value.as_double() < 0 ? ApplyOperator("-", Value::Int(0), value)
                                                  : value;
  if (name == "items") {
    if (value.undefined()) return Value::List({});
    if (!value.is_map()) return Unfit("items", value, "a map");
    return ListValue(Pairs(value));
  }
  if (name == "replace") {
    const Value text = Value::Text(value.Printed());
    return Replaced(text, a);
  }
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr")
    return Selected(name, value, a);
  if (name == "map") return Mapped(value, a);
  if (name == "first" || name == "last" || name == "list" || name == "reverse") {
    ASSIGN_OR_RETURN(TemplateList items, ItemsToLoop(value));
    if (name == "list") return ListValue(std::move(items));
    if (name == "reverse") {
      std::reverse(items.begin(), items.end());
      if (!value.is_text()) return ListValue(std::move(items));
      std::string text;
      for (const Value& item : items) text += item.text();
      return TextValue(std::move(text));
    }
    if (items.empty()) return Value();
    return name == "first" ? items.front() : items.back();
  }
  return absl::UnimplementedError(absl::StrCat("filter `", name, "` is not supported"));
}

absl::StatusOr<bool> ApplyTest(const std::string& name, const Value& v,
                               const TemplateArguments& a) {
  if (name == "defined") return !v.undefined();
  if (name == "undefined") return v.undefined();
  if (name == "none") return v.none();
  if (name == "string") return v.is_text();
  if (name == "mapping") return v.is_map();
  if (name == "iterable" || name == "sequence")
    return v.is_text() || v.is_list() || v.is_map() || v.undefined();
  if (name == "number") return v.number();
  if (name == "integer") return v.type() == Type::kInt;
  if (name == "float") return v.type() == Type::kFloat;
  if (name == "boolean") return v.type() == Type::kBool;
  if (name == "true") return v.type() == Type::kBool && v.Truth();
  if (name == "false") return v.type() == Type::kBool && !v.Truth();
  if (name == "callable") return v.type() == Type::kFunction;
  const Value other = a.Get(0, "other");
  if (name == "in") return Contains(v, other);
  for (absl::string_view equal : {"equalto", "eq", "=="}) {
    if (name == equal) return v.Equals(other);
  }
  if (name == "ne" || name == "!=") return !v.Equals(other);
  if (name == "odd" || name == "even" || name == "divisibleby") {
    const Value by = name == "divisibleby" ? other : Value::Int(2);
    if (!v.whole() || !by.whole()) return Unfit(name, v.whole() ? by : v, "a whole number");
    ASSIGN_OR_RETURN(const Value rest, ApplyOperator("%", v, by));
    return rest.Truth() == (name == "odd");
  }
  return absl::UnimplementedError(absl::StrCat("test `", name, "` is not supported"));
}

ValueOr CallMethod(const std::string& name, const Value& v, const TemplateArguments& a) {
  if (v.is_text()) {
    if (IsStripName(name)) {
      ASSIGN_OR_RETURN(std::string text, Stripped(name, v.text(), a.Get(0, "")));
      return TextValue(std::move(text));
    }
    if (IsCaseName(name)) {
      ASSIGN_OR_RETURN(std::string text, Cased(name, v.text()));
      return TextValue(std::move(text));
    }
    if (name == "split") return Split(v.text(), a);
    if (name == "replace") return Replaced(v, a);
    if (name == "join") {
      TemplateArguments between;
      between.values = {v};
      return Join(a.Get(0, ""), between);
    }
    if (name == "startswith" || name == "endswith") {
      const Value what = a.Get(0, "");
      TemplateList all = what.is_list() ? what.list() : TemplateList{what};
      bool found = false;
      for (const Value& one : all) {
        if (!one.is_text()) return Unfit(name, one, "a text");
        found |= name == "startswith" ? absl::StartsWith(v.text(), one.text())
                                      : absl::EndsWith(v.text(), one.text());
      }
      return Value::Bool(found);
    }
  }
  if (v.is_map()) {
    if (name == "items") return ListValue(Pairs(v));
    if (name == "keys" || name == "values") {
      TemplateList out;
      for (const auto& [key, value] : v.map())
        out.push_back(name == "keys" ? Value::Text(key) : value);
      return ListValue(std::move(out));
    }
    if (name == "get") {
      const Value key = a.Get(0, "");
      const Value* found = key.is_text() ? v.Find(key.text()) : nullptr;
      if (found != nullptr) return *found;
      return a.values.size() > 1 ? a.values[1] : Value::None();
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("method `", name, "` of ", v.TypeName(), " is not supported"));
}

ValueOr ApplyOperator(const std::string& name, const Value& l, const Value& r) {
  if (name == "==") return Value::Bool(l.Equals(r));
  if (name == "!=") return Value::Bool(!l.Equals(r));
  if (name == "in" || name == "not in") {
    ASSIGN_OR_RETURN(const bool contains, Contains(l, r));
    return Value::Bool(contains == (name == "in"));
  }
  if (name == "~") return TextValue(absl::StrCat(l.Printed(), r.Printed()));
  if (name[0] == '<' || name[0] == '>') return Compared(name, l, r);
  if (name == "+" && l.is_text() && r.is_text()) return TextValue(absl::StrCat(l.text(), r.text()));
  if (name == "+" && l.is_list() && r.is_list()) {
    TemplateList list = l.list();
    list.insert(list.end(), r.list().begin(), r.list().end());
    return ListValue(std::move(list));
  }
  if (name == "*" && (l.is_text() || l.is_list()) && r.whole()) return Repeated(l, r.as_int());
  if (name == "*" && (r.is_text() || r.is_list()) && l.whole()) return Repeated(r, l.as_int());
  if (!l.number() || !r.number()) {
    return absl::InvalidArgumentError(
        absl::StrCat("`", name, "` of ", l.TypeName(), " and ", r.TypeName()));
  }
  if (name == "/" || name == "//" || name == "%") return Divided(name, l, r);
  if (!l.whole() || !r.whole()) {
    const double a = l.as_double(), b = r.as_double();
    return Value::Float(name == "+" ? a + b : name == "-" ? a - b : a * b);
  }
  int64_t out = 0;
  const int64_t a = l.as_int(), b = r.as_int();
  const bool over = name == "+"   ? __builtin_add_overflow(a, b, &out)
                    : name == "-" ? __builtin_sub_overflow(a, b, &out)
                                  : __builtin_mul_overflow(a, b, &out);
  if (over) return absl::InvalidArgumentError("the number is too large");
  return Value::Int(out);
}

ValueOr ItemOf(const Value& value, const Value& key) {
  switch (value.type()) {
    case Type::kMap:
    case Type::kNamespace: {
      const Value* found = key.is_text() ? value.Find(key.text()) : nullptr;
      return found == nullptr ? Value() : *found;
    }
    case Type::kList:
    case Type::kText: {
      if (!key.whole()) return Value();
      const std::vector<std::string> characters =
          value.is_text() ? CharactersOf(value.text()) : std::vector<std::string>();
      const int64_t size =
          static_cast<int64_t>(value.is_text() ? characters.size() : value.list().size());
      const int64_t at = key.as_int() < 0 ? key.as_int() + size : key.as_int();
      if (at < 0 || at >= size) return Value();
      return value.is_text() ? Value::Text(characters[at]) : value.list()[at];
    }
    case Type::kUndefined:
      return absl::InvalidArgumentError(
          absl::StrCat("member ", key.Repr(), " of an undefined value"));
    default:
      return Value();
  }
}

ValueOr SliceOf(const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (!value.is_text() && !value.is_list()) return Unfit("a slice", value, "a text or list");
  for (const Value* part : {&begin, &end, &step}) {
    if (!part->undefined() && !part->none() && !part->whole())
      return Unfit("a slice", *part, "whole numbers");
  }
  const std::vector<std::string> characters =
      value.is_text() ? CharactersOf(value.text()) : std::vector<std::string>();
  const int64_t size =
      static_cast<int64_t>(value.is_text() ? characters.size() : value.list().size());
  const int64_t by = step.whole() ? step.as_int() : 1;
  if (by == 0) return absl::InvalidArgumentError("the step of a slice is 0");
  const auto bound = [&](const Value& v, int64_t otherwise) {
    if (!v.whole()) return otherwise;
    const int64_t at = v.as_int() < 0 ? v.as_int() + size : v.as_int();
    return by > 0 ? std::clamp<int64_t>(at, 0, size) : std::clamp<int64_t>(at, -1, size - 1);
  };
  const int64_t first = bound(begin, by > 0 ? 0 : size - 1), last = bound(end, by > 0 ? size : -1);
  std::string text;
  TemplateList list;
  // Written so that no addition leaves int64_t.
  for (int64_t at = first; by > 0 ? at < last : at > last;) {
    if (value.is_text()) {
      text += characters[at];
    } else {
      list.push_back(value.list()[at]);
    }
    if (__builtin_add_overflow(at, by, &at)) break;
  }
  return value.is_text() ? TextValue(std::move(text)) : ListValue(std::move(list));
}

absl::StatusOr<TemplateList> ItemsToLoop(const Value& value) {
  if (value.is_list()) return value.list();
  if (value.undefined()) return TemplateList();
  TemplateList out;
  if (value.is_map()) {
    for (const auto& item : value.map()) out.push_back(Value::Text(item.first));
    return out;
  }
  if (!value.is_text()) return Unfit("a loop", value, "a list, map or text");
  if (value.text().size() > kMaxTemplateItems) return TooLarge();
  for (std::string& c : CharactersOf(value.text())) out.push_back(Value::Text(std::move(c)));
  return out;
}

}  // namespace tritter
