#include "model/parameter_groups.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace tritter {
namespace {

// "layers.12.attn.q.weight" -> "attn.q"; what is in no block keeps its own name.
std::string RoleOf(absl::string_view name) {
  absl::ConsumeSuffix(&name, ".weight");
  if (absl::ConsumePrefix(&name, "layers.")) name.remove_prefix(name.find('.') + 1);
  return std::string(name);
}

// 0.2: the root mean square of AdamW's updates; an orthogonal matrix has that of
// 1 / sqrt(max(out, in)).
double MuonRateFactor(const std::vector<int64_t>& shape) {
  return 0.2 * std::sqrt(static_cast<double>(std::max(shape[0], shape[1])));
}

}  // namespace

const char* OptimizerKindName(OptimizerKind kind) {
  return kind == OptimizerKind::kMuon ? "muon" : "adamw";
}

ParameterGroup GroupOf(const RunSpec& spec, const ParameterSpec& parameter) {
  ParameterGroup group;
  switch (parameter.kind) {
    case ParameterKind::kEmbedding:
      group.name = "embedding";
      break;
    case ParameterKind::kNorm:
      group.name = "norm";
      break;
    case ParameterKind::kBias:
      group.name = "bias";
      break;
    case ParameterKind::kScale:
      group.name = "scale";
      break;
    case ParameterKind::kHead:
    case ParameterKind::kTernary:
      group.name = RoleOf(parameter.name);
      group.weight_decay = spec.weight_decay;
      if (spec.optimizer == "muon" && absl::StartsWith(parameter.name, "layers.")) {
        group.optimizer = OptimizerKind::kMuon;
        group.rate_factor = MuonRateFactor(parameter.shape);
      }
      break;
  }
  group.moments_8bit = spec.moments == "8bit" && group.optimizer == OptimizerKind::kAdamW &&
                       parameter.shape.size() == 2;
  return group;
}

std::vector<GroupSummary> SummariseGroups(const RunSpec& spec) {
  std::vector<GroupSummary> groups;
  for (const ParameterSpec& parameter : ParameterTable(spec.model)) {
    const ParameterGroup group = GroupOf(spec, parameter);
    auto at = std::find_if(groups.begin(), groups.end(),
                           [&](const GroupSummary& g) { return g.group == group; });
    if (at == groups.end()) at = groups.insert(groups.end(), {group});
    int64_t size = 1;
    for (const int64_t n : parameter.shape) size *= n;
    ++at->tensors;
    at->parameters += size;
  }
  return groups;
}

}  // namespace tritter
