// Why a configuration cannot be built, field by field: ValidateConfig joins the sentences, the YAML
// reader places each at the key that the user wrote.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"

namespace tritter {

struct ConfigProblem {
  std::vector<std::string>
      fields;           // YAML keys that take part; the first one is the one the message is about
  std::string message;  // actual and expected value
};

// In a fixed order; empty when the configuration can be built.
std::vector<ConfigProblem> FindConfigProblems(const ModelConfig& config);

}  // namespace tritter
