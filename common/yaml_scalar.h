// What a YAML scalar says: the types of the core schema, and words for them in error messages.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/yaml_tree.h"

namespace tritter::yaml_internal {

// Each false when the text is not of that form. `text` is a plain (unquoted) scalar.
bool ParseBool(absl::string_view text, bool* out);    // true, True, TRUE, false …
bool ParseInt(absl::string_view text, int64_t* out);  // decimal, optional sign
// Decimal with optional fraction and exponent; .inf and .nan have no place in a configuration.
bool ParseNumber(absl::string_view text, double* out);
bool LooksLikeInt(absl::string_view text);  // also one that does not fit 64 bits

// The value is a string: quoted, or plain and nothing else of the core schema.
bool IsString(const Node& node);

// "the number 12", "the string \"a b\"", "a list", "a mapping", "nothing".
std::string Describe(const Node& node);

}  // namespace tritter::yaml_internal
