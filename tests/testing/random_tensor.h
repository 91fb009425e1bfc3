// Random weights of any shape: for tests, load generators and comparisons with other engines.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/tpack.h"
#include "model/weight_source.h"

namespace tritter {

// The parameter `spec` of a random model: a pure function of (config, spec.name, seed). Ternary
// codes are nonzero with probability 0.69 (what absmean leaves of Gaussian weights), scales keep
// activations near one. Every value is the same in F32, F16 and BF16, and every plain matrix is a
// whole number from -127 to 127 times a power of two: all forms of a model hold the same weights.
TernaryCodes RandomCodes(const ModelConfig& config, const ParameterSpec& spec, uint64_t seed);
std::vector<float> RandomValues(const ModelConfig& config, const ParameterSpec& spec,
                                uint64_t seed);  // of what is not ternary

// Either of them as a packed model holds it.
TpackTensorToWrite RandomTensor(const ModelConfig& config, const ParameterSpec& spec,
                                uint64_t seed);

}  // namespace tritter
