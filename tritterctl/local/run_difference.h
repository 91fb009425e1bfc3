// In what two effective configurations differ, key by key. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tritter {

// Of two texts of CanonicalYaml: "training.steps (was 1000, is 2000)", "data.sources[1].name (is
// new)", "extend.run (is gone)"; first those of `now`, in its order.
std::vector<std::string> DifferingKeys(absl::string_view before, absl::string_view now);

// At most `most` of them, and how many more there are.
std::string DifferenceText(const std::vector<std::string>& keys, size_t most = 4);

}  // namespace tritter
