#include "model/yaml_text.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace tritter {

std::string YamlNumber(double value) {
  char buffer[64];
  // Plain decimals where people would write them, exponents beyond.
  const double size = std::abs(value);
  const auto format = value == 0 || (size >= 1e-5 && size < 1e15) ? std::chars_format::fixed
                                                                  : std::chars_format::scientific;
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value, format);
  std::string text(buffer, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  // "1e-08" is a string to strict YAML 1.2 readers of other programs, "1.0e-08" a number to all.
  const size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos)
    text.insert(exponent, ".0");
  return text;
}

std::string YamlQuoted(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      absl::StrAppend(&out, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace tritter
