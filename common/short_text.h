// Texts of others inside our messages: they may be any length, a message may not (gRPC has room for
// some kilobytes).
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tritter {

// At most `bytes` of `text`, cut between two characters, with "…" for the rest.
inline std::string ShortText(absl::string_view text, size_t bytes = 200) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return absl::StrCat(text.substr(0, bytes), "…");
}

}  // namespace tritter
