// Small networks of every switch and attention mode, with numbers to compute on, for tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "worker/training/formula/formula_network.h"

namespace tritter {

inline constexpr int64_t kCaseLength = 9;
inline constexpr int64_t kCasePrefix = 4;

// H 8, two layers, 4 query heads on 2 key heads of 6, I 10, V 13.
ModelConfig SmallModel(Family family = Family::kTritter);
// A name and a model for each switch, in both families.
std::vector<std::pair<std::string, ModelConfig>> SwitchCases();
// … for each attention mode, with windows and sinks shorter than the sequence.
std::vector<std::pair<std::string, ModelConfig>> AttentionCases();

// Two sequences, the first of three documents.
FormulaBatch CaseBatch();
at::Tensor CaseTargets(const FormulaBatch& batch);  // the next token; none at the end
at::Tensor CaseWeights();                           // [2, kCaseLength], all different
// In double. Weights of ordinary size, away from ties; norms and scales around one.
NamedTensors CaseParameters(const ModelConfig& config, uint64_t seed = 1);

}  // namespace tritter
