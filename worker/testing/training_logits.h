// The logits of the forward pass that training differentiates, read from a checkpoint. For
// comparisons with what is served; the trainer itself evaluates with the serving arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/checkpoint_manifest.h"
#include "model/config.h"

namespace tritter {

// Every sequence from position 0 -> its logits [tokens, V], with the averaged weights, through a
// full head. Errors: those of ReadState and Network::Create.
absl::StatusOr<std::vector<std::vector<float>>> TrainingLogits(
    Env* env, const ModelConfig& config, const std::string& folder,
    const CheckpointManifest& manifest, const std::vector<std::vector<int64_t>>& sequences);

}  // namespace tritter
