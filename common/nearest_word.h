// What was meant by a word that is not known.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

// The candidate nearest to `word` by edit distance, when near enough to be a misspelling; else "".
std::string NearestWord(absl::string_view word, absl::Span<const std::string> candidates);

}  // namespace tritter
