// Mixes of data by name: which roles a run's sources play, and with what weights.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tritter {

struct MixRole {
  const char* name;  // also of the source that plays it
  double weight;     // percent
};

std::vector<std::string> DataMixNames();
// Empty for a name that is none of them.
std::vector<MixRole> DataMixRoles(absl::string_view mix);

}  // namespace tritter
