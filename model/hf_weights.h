// A Hugging Face folder of family bitnet as weights.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/weight_source.h"

namespace tritter {

// Reads config.json, model.safetensors or model.safetensors.index.json, and tokenizer.json where
// there is one. Packed matrices are given as MasterWeights. Errors: as OpenForeignWeights.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenHfWeights(Env* env, const std::string& folder);

}  // namespace tritter
