#include "model/utf8.h"

#include <cstdint>

namespace tritter {

Utf8Prefix ScanUtf8(absl::string_view text) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = at(0);
  if (lead < 0x80) return {Utf8Kind::kWhole, 1};
  size_t length;
  uint8_t low = 0x80, high = 0xBF;  // bounds of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {Utf8Kind::kBroken, 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Kind::kPartial, i};
    if (at(i) < low || at(i) > high) return {Utf8Kind::kBroken, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Kind::kWhole, length};
}

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Prefix prefix = ScanUtf8(text);
    if (prefix.kind != Utf8Kind::kWhole) return false;
    text.remove_prefix(prefix.length);
  }
  return true;
}

std::string WholeUtf8(absl::string_view text, size_t most) {
  std::string out;
  while (!text.empty()) {
    const Utf8Prefix prefix = ScanUtf8(text);
    const absl::string_view next =
        prefix.kind == Utf8Kind::kWhole ? text.substr(0, prefix.length) : kReplacementCharacter;
    if (out.size() + next.size() > most) break;
    out.append(next.data(), next.size());
    text.remove_prefix(prefix.length);
  }
  return out;
}

std::string ShowableUtf8(absl::string_view text, size_t most) {
  const std::string whole = WholeUtf8(text, most);
  std::string out;
  for (size_t i = 0; i < whole.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(whole[i]);
    const bool c1 = c == 0xC2 && static_cast<unsigned char>(whole[i + 1]) < 0xA0;
    if (c1) ++i;
    if (c == '\n' || c == '\r') {
      out += ' ';
      continue;
    }
    out += c1 || (c < ' ' && c != '\t') || c == 0x7F ? '?' : whole[i];
  }
  return out;
}

}  // namespace tritter
