// Weights that come from elsewhere: a Hugging Face folder of family bitnet, or our own safetensors
// export, made into something that the rest uses. The forms: docs/formats/exchange.md.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/export.h"
#include "model/weight_source.h"

namespace tritter {

// `path`: a Hugging Face folder (config.json beside model.safetensors or its index), a .safetensors
// file of ours, or the index of one that is sharded. Everything that can be wrong with names,
// shapes, types and sizes is found here, before a value is read. Errors, naming file and field:
// NotFound, DataLoss (damaged, a tensor that is missing, unknown, or of another shape),
// Unimplemented (what the configuration asks for is not there), InvalidArgument (neither of the
// two).
absl::StatusOr<std::unique_ptr<WeightSource>> OpenForeignWeights(Env* env, const std::string& path);

// A committed checkpoint of these weights in the new folder `folder`: also as the averages, moments
// zero. Its manifest names the run and step they come from, with a configuration that is the model
// alone. Errors: those of the source; AlreadyExists, ResourceExhausted.
absl::StatusOr<ExportResult> WriteCheckpointOf(Env* env, WeightSource* source,
                                               const std::string& folder);

}  // namespace tritter
