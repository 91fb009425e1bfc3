#include "common/yaml_scalar.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tritter::yaml_internal {
namespace {

std::string Shortened(absl::string_view text) {
  constexpr size_t kShown = 40;
  if (text.size() <= kShown) return std::string(text);
  size_t end = kShown;  // not in the middle of a UTF-8 sequence
  while (end > 0 && (text[end] & 0xc0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

}  // namespace

bool ParseBool(absl::string_view text, bool* out) {
  const bool yes = text == "true" || text == "True" || text == "TRUE";
  const bool no = text == "false" || text == "False" || text == "FALSE";
  if (yes || no) *out = yes;
  return yes || no;
}

bool LooksLikeInt(absl::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty()) return false;
  for (char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return true;
}

bool ParseInt(absl::string_view text, int64_t* out) {
  return LooksLikeInt(text) && absl::SimpleAtoi(text, out);
}

bool ParseNumber(absl::string_view text, double* out) {
  bool digit = false;
  for (char c : text) {
    digit |= absl::ascii_isdigit(c);
    // Keeps out "inf", "nan" and hexadecimal, which SimpleAtod takes.
    if (!absl::ascii_isdigit(c) && !absl::StrContains("+-.eE", absl::string_view(&c, 1))) {
      return false;
    }
  }
  return digit && absl::SimpleAtod(text, out) && std::isfinite(*out);
}

bool IsString(const Node& node) {
  if (node.kind != Node::Kind::kScalar) return false;
  bool b;
  double d;
  return node.quoted || (!ParseBool(node.text, &b) && !ParseNumber(node.text, &d));
}

std::string Describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMap:
      return "a mapping";
    case Node::Kind::kBroken:
      return "a value that cannot be read";
    case Node::Kind::kScalar:
      break;
  }
  bool b;
  if (!node.quoted && ParseBool(node.text, &b)) return node.text;
  if (IsString(node)) return absl::StrCat("the string \"", Shortened(node.text), "\"");
  return absl::StrCat("the number ", Shortened(node.text));
}

}  // namespace tritter::yaml_internal
