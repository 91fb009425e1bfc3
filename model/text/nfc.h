// Unicode's normalisation form C (UAX 15), in time O(n log n) whatever the text.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace tritter {

std::string Nfc(absl::string_view text);  // `text` is UTF-8

}  // namespace tritter
