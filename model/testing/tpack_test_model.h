// A small random model as a .tpack, for tests of whatever reads one.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/env.h"
#include "model/config.h"
#include "model/tpack.h"

namespace tritter {

// One layer, hidden 24, 2 heads, 1 KV head, ffn 40, vocabulary 264: no size a multiple of 16.
ModelConfig TinyModelConfig();
// The tensor with values that are a function of (seed, name): ternary weights quantised by their
// absmean, the rest F32.
TpackTensorToWrite RandomTpackTensor(const ModelConfig& config, const ParameterSpec& parameter,
                                     uint64_t seed);
absl::Status WriteRandomTpack(Env* env, const std::string& path, const ModelConfig& config,
                              uint64_t seed);
inline constexpr char kTestTokenizerHash[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

}  // namespace tritter
