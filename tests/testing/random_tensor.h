// Random weights of any shape: for tests, load generators and comparisons with other engines.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "model/tpack.h"

namespace tritter {

// The tensor `spec` of a random model: a pure function of (config, spec.name, seed). Ternary codes
// are nonzero with probability 0.69 (what absmean leaves of Gaussian weights), scales keep
// activations near one.
TpackTensorToWrite RandomTensor(const ModelConfig& config, const ParameterSpec& spec,
                                uint64_t seed);

}  // namespace tritter
