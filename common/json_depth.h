// How deeply a JSON text is nested, before anything is parsed: what copies or writes a value takes
// stack for each of its levels.
#pragma once

#include "absl/strings/string_view.h"

namespace tritter {

// Levels of brackets outside strings. What is not JSON is for the parser to tell.
int JsonDepth(absl::string_view text);

}  // namespace tritter
