// Values as canonical YAML text: one way to write each value, so that equal configurations are
// equal texts.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace tritter {

// The shortest decimal text that reads back as the same double, always recognisable as a number
// with a fraction or an exponent (1 is "1.0"). Finite values only.
std::string YamlNumber(double value);
// Double-quoted, with control characters, quotes and backslashes escaped; other bytes as they are.
std::string YamlQuoted(absl::string_view text);

}  // namespace tritter
