// The forward pass once more, in double with plain loops and no tensor library: an independent
// reading of the specification, for tests of the formulas.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/config.h"

namespace tritter {

using LoopParameters = std::map<std::string, std::vector<double>>;

// Logits [L][V] of one sequence whose first token stands at `first_position`.
std::vector<std::vector<double>> LoopLogits(const ModelConfig& config,
                                            const LoopParameters& parameters,
                                            const std::vector<int64_t>& tokens,
                                            int64_t first_position, int64_t prefix);

// Does position q see position k? Brute force, from the words of the specification.
bool LoopSees(const ModelConfig& config, const std::vector<int64_t>& tokens, int64_t prefix,
              int64_t q, int64_t k);

}  // namespace tritter
