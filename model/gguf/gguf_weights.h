// A model in a GGUF file as weights, and weights as such a file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/gguf/gguf_model.h"
#include "model/text/tokenizer_files.h"
#include "model/weight_source.h"

namespace tritter {

// Ternary matrices are read as codes: of TQ1_0 and TQ2_0 those of the blocks, of the other types
// values -s, 0, +s. Everything that can be wrong with keys, names, shapes and types is found here,
// before a value is read. Errors: those of GgufFile and ReadGgufModel; DataLoss (a tensor that is
// missing, unknown, or of another shape). Of Get and GetCodes: FailedPrecondition (NaN or infinity;
// a matrix that is not ternary with one scale), DataLoss (code 3 in TQ2_0).
absl::StatusOr<std::unique_ptr<WeightSource>> OpenGgufWeights(Env* env, const std::string& path);

struct GgufResult {
  WrittenGguf file;
  // What the file does not hold as the source does, in sentences; empty when it holds all of it.
  std::vector<std::string> losses;
};
// One tensor at a time is in memory. Not atomic: the caller renames the file. Errors:
// FailedPrecondition (a value beyond F16, where that is the type), those of CheckGgufExpressible,
// of the source and of the disk.
absl::StatusOr<GgufResult> WriteGgufWeights(Env* env, WeightSource* source, const std::string& path,
                                            const GgufOptions& options,
                                            const TokenizerFiles* tokenizer = nullptr);

}  // namespace tritter
