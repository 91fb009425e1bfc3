// The logits of the forward pass that training differentiates, read from a checkpoint. For
// comparisons with what is served; the trainer itself evaluates with the serving arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint_store.h"
#include "model/config.h"

namespace tritter {

// Every sequence from position 0 -> its logits [tokens, V], with the averaged weights, through a
// full head. Errors: those of ReadState and Network::Create.
absl::StatusOr<std::vector<std::vector<float>>> TrainingLogits(
    const ModelConfig& config, const CheckpointReader& checkpoint,
    const std::vector<std::vector<int64_t>>& sequences);

}  // namespace tritter
