// Any model that this program reads, by its content: .tpack, GGUF, a Hugging Face folder, our own
// safetensors export. What each of them holds: docs/formats/.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/packed_model_file.h"
#include "model/weight_source.h"

namespace tritter {

// To be served. A .tpack is mapped; of the other containers every tensor is packed on its first Get
// (or VerifyAll) with the arithmetic of export, and kept in memory. Errors: NotFound; DataLoss
// (damaged), Unimplemented and InvalidArgument (a switch, a tensor type or a container that we do
// not have), FailedPrecondition (NaN or infinity), each naming the file and what is wrong in it.
absl::StatusOr<std::unique_ptr<PackedModelFile>> OpenModel(Env* env, const std::string& path);

// The same as weights, to be written in another form; a tensor at a time is in memory. Errors:
// those of OpenModel.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenModelWeights(Env* env, const std::string& path);

// Weights as a packed model; `bytes` is what they take where they are stored. Errors of Get and
// VerifyAll: those of the source; here those of CheckPackable.
absl::StatusOr<std::unique_ptr<PackedModelFile>> PackWeights(std::unique_ptr<WeightSource> source,
                                                             uint64_t bytes);
// A packed model as weights.
std::unique_ptr<WeightSource> WeightsOf(std::unique_ptr<PackedModelFile> file);

}  // namespace tritter
