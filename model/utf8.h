// UTF-8 by the table of well-formed byte sequences (Unicode 15, table 3-7): no overlong forms, no
// surrogates, nothing beyond U+10FFFF.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace tritter {

enum class Utf8Kind {
  kWhole,    // a well-formed sequence
  kBroken,   // can never become one: `length` bytes are replaced by one U+FFFD (maximal subpart)
  kPartial,  // well-formed so far, but the text ends
};
struct Utf8Prefix {
  Utf8Kind kind;
  size_t length;  // bytes, at least 1
};
// What stands at the beginning of a text that is not empty.
Utf8Prefix ScanUtf8(absl::string_view text);
bool IsValidUtf8(absl::string_view text);

// `text` with U+FFFD for what is broken or cut off, of at most `most` bytes: not cut within a
// character. What goes into a message of Protobuf or JSON passes through here.
std::string WholeUtf8(absl::string_view text, size_t most = std::string::npos);

// The same in one line: a blank for each line break, `?` for each other control character but the
// tab (C0, DEL, C1: what a terminal would obey). What somebody else wrote and a terminal shows
// passes through here.
std::string ShowableUtf8(absl::string_view text, size_t most = std::string::npos);

inline constexpr char kReplacementCharacter[] = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace tritter
