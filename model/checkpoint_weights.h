// The weights of a committed checkpoint.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint_store.h"
#include "model/weight_source.h"

namespace tritter {

// Key of a share's metadata where the weights were imported with a tokenizer that is not ours.
inline constexpr char kTokenizerHashKey[] = "tokenizer_hash";

// The model's configuration as the manifest records it: of `spec_yaml` the section
// `model` alone, so that weights can be read that this version does not train. Errors:
// InvalidArgument.
absl::StatusOr<ModelConfig> CheckpointModel(const CheckpointReader& checkpoint);

// Verifies the checkpoint (sizes and hashes) and maps it. `raw`: the weights as trained instead of
// their average. Errors: NotFound (averaged weights that the checkpoint does not hold), DataLoss,
// InvalidArgument (its configuration).
absl::StatusOr<std::unique_ptr<WeightSource>> OpenCheckpointWeights(
    const CheckpointReader& checkpoint, bool raw);

}  // namespace tritter
