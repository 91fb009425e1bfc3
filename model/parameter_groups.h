// Which optimiser trains which parameter, with what weight decay and what part of the learning
// rate: the rules by name as one table, for the workers, the log and `tritterctl validate
// --groups`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/run_spec.h"

namespace tritter {

enum class OptimizerKind { kAdamW, kMuon };
const char* OptimizerKindName(OptimizerKind kind);  // "adamw", "muon"

// How a parameter is trained.
struct ParameterGroup {
  // "embedding" (a tied one too), "head", the matrices of the blocks by role ("attn.q" …
  // "ffn.down"), "norm", "bias", "scale".
  std::string name;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double weight_decay = 0;  // decoupled, of the whole learning rate; on matrices only
  // Multiplies the learning rate of the update: 1 for AdamW; 0.2 sqrt(max(out, in)) for Muon, whose
  // orthogonal update then has the root mean square of AdamW's (Liu et al. 2025,
  // arXiv:2502.16982), so that one learning rate serves both.
  double rate_factor = 1;
  // AdamW's moments in 8-bit blocks (training.moments: 8bit); matrices and embeddings only, the
  // rest is small.
  bool moments_8bit = false;
  bool operator==(const ParameterGroup&) const = default;
};
ParameterGroup GroupOf(const RunSpec& spec, const ParameterSpec& parameter);

struct GroupSummary {
  ParameterGroup group;
  int64_t tensors = 0, parameters = 0;
};
// Every group of the run's model, in order of the parameter table; groups that share a name differ
// in a rate factor.
std::vector<GroupSummary> SummariseGroups(const RunSpec& spec);

}  // namespace tritter
