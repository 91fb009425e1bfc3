// The alphabet of byte-level BPE files: every byte as one printable character. Printable bytes of
// Latin-1 stand for themselves, the others, in their order, are U+0100, U+0101, …
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace tritter {

// UTF-8 of the character of each byte.
const std::array<std::string, 256>& ByteLevelCharacters();
// "Ġthe" → " the"; nothing when a character stands for no byte. `text` is UTF-8.
std::optional<std::string> FromByteLevel(absl::string_view text);
std::string ToByteLevel(absl::string_view bytes);

}  // namespace tritter
