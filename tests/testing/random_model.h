// Packed models with random weights of any shape: for tests, load generators and comparisons with
// other engines.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "common/env.h"
#include "model/config.h"

namespace tritter {

// Writes a whole model; its tokenizer is the byte tokenizer. InvalidArgument for a bad
// configuration; errors of the writer.
absl::Status WriteRandomModel(Env* env, const std::string& path, const ModelConfig& config,
                              uint64_t seed);

}  // namespace tritter
