// A Hugging Face folder of any family as weights.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/weight_source.h"

namespace tritter {

// Reads config.json, model.safetensors or model.safetensors.index.json, and tokenizer.json where
// there is one. Packed matrices are codes, and as weights MasterWeights. Errors: as
// OpenForeignWeights.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenHfWeights(Env* env, const std::string& folder);

}  // namespace tritter
