#include "model/text/byte_level.h"

namespace tritter {
namespace {

constexpr int kFirstOther = 0x100;  // U+0100 and on: bytes that are not printable

constexpr bool Printable(int b) {
  return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

std::string Utf8(int code_point) {  // below U+0800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | (code_point >> 6)),
          static_cast<char>(0x80 | (code_point & 0x3F))};
}

// The byte of each character below U+0200, -1 of those that are none.
const std::array<int16_t, 0x200>& BytesOfCharacters() {
  static const auto* bytes = [] {
    auto* out = new std::array<int16_t, 0x200>;
    out->fill(-1);
    int next = kFirstOther;
    for (int b = 0; b < 256; ++b) (*out)[Printable(b) ? b : next++] = static_cast<int16_t>(b);
    return out;
  }();
  return *bytes;
}

}  // namespace

const std::array<std::string, 256>& ByteLevelCharacters() {
  static const auto* characters = [] {
    auto* out = new std::array<std::string, 256>;
    const auto& bytes = BytesOfCharacters();
    for (int c = 0; c < static_cast<int>(bytes.size()); ++c) {
      if (bytes[c] >= 0) (*out)[bytes[c]] = Utf8(c);
    }
    return out;
  }();
  return *characters;
}

std::optional<std::string> FromByteLevel(absl::string_view text) {
  const auto& bytes = BytesOfCharacters();
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    int c = static_cast<uint8_t>(text[i]);
    if (c >= 0x80) {
      if (c >= 0xC8 || i + 1 == text.size()) return std::nullopt;  // U+0200 and on
      c = (c & 0x1F) << 6 | (static_cast<uint8_t>(text[++i]) & 0x3F);
    }
    if (bytes[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(bytes[c]));
  }
  return out;
}

std::string ToByteLevel(absl::string_view bytes) {
  std::string out;
  for (const char b : bytes) out += ByteLevelCharacters()[static_cast<uint8_t>(b)];
  return out;
}

}  // namespace tritter
