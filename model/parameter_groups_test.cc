#include "model/parameter_groups.h"

#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

RunSpec SpecOf(const std::string& optimizer) {
  RunSpec spec;
  spec.optimizer = optimizer;
  spec.weight_decay = 0.1;
  spec.model = *PresetConfig("nano");
  return spec;
}

// "name optimiser decay factor" of every group.
std::vector<std::string> Lines(const RunSpec& spec) {
  std::vector<std::string> lines;
  for (const GroupSummary& g : SummariseGroups(spec)) {
    lines.push_back(absl::StrCat(g.group.name, " ", OptimizerKindName(g.group.optimizer), " ",
                                 g.group.weight_decay, " ",
                                 std::round(1e3 * g.group.rate_factor) / 1e3));
  }
  return lines;
}

RunSpec Shaped(const std::string& optimizer) {
  RunSpec spec = SpecOf(optimizer);
  spec.model.hidden = 100;
  spec.model.heads = 4;
  spec.model.kv_heads = 2;
  spec.model.head_dim = 25;
  spec.model.ffn = 400;
  return spec;
}

TEST(ParameterGroups, AdamWDecaysMatricesOnly) {
  EXPECT_EQ(Lines(Shaped("adamw")),
            (std::vector<std::string>{
                "embedding adamw 0 1", "norm adamw 0 1", "attn.q adamw 0.1 1", "attn.k adamw 0.1 1",
                "attn.v adamw 0.1 1", "attn.o adamw 0.1 1", "ffn.gate adamw 0.1 1",
                "ffn.up adamw 0.1 1", "ffn.down adamw 0.1 1", "head adamw 0.1 1"}));
}

TEST(ParameterGroups, MuonTakesTheMatricesInsideTheBlocksScaledToAdamWsSize) {
  EXPECT_EQ(Lines(Shaped("muon")),
            (std::vector<std::string>{"embedding adamw 0 1", "norm adamw 0 1", "attn.q muon 0.1 2",
                                      "attn.k muon 0.1 2", "attn.v muon 0.1 2", "attn.o muon 0.1 2",
                                      "ffn.gate muon 0.1 4", "ffn.up muon 0.1 4",
                                      "ffn.down muon 0.1 4", "head adamw 0.1 1"}));
}

TEST(ParameterGroups, BiasesAndScalesHaveGroupsWithoutDecayAndATiedEmbeddingIsOne) {
  RunSpec spec = Shaped("muon");
  spec.model.tied_embeddings = true;
  spec.model.bias = true;
  spec.model.norm = NormKind::kLayerNorm;
  spec.model.weight_rule = WeightRule::kThreshold;
  const std::vector<std::string> lines = Lines(spec);
  for (const char* want : {"embedding adamw 0 1", "bias adamw 0 1", "scale adamw 0 1"}) {
    EXPECT_NE(std::find(lines.begin(), lines.end(), want), lines.end()) << want;
  }
  for (const std::string& line : lines) EXPECT_NE(line.substr(0, 4), "head") << line;
}

TEST(ParameterGroups, ATernaryHeadIsNoMatrixInsideABlock) {
  RunSpec spec = Shaped("muon");
  spec.model.lm_head_ternary = true;
  const GroupSummary head = SummariseGroups(spec).back();
  EXPECT_EQ(head.group.name, "head");
  EXPECT_EQ(head.group.optimizer, OptimizerKind::kAdamW);
  EXPECT_EQ(head.group.weight_decay, 0.1);
}

TEST(ParameterGroups, CountEveryParameterOnce) {
  for (const std::string& preset : PresetNames()) {
    RunSpec spec = SpecOf("muon");
    spec.model = *PresetConfig(preset);
    if (!ValidateConfig(spec.model).ok()) continue;
    int64_t parameters = 0, tensors = 0;
    for (const GroupSummary& g : SummariseGroups(spec)) {
      parameters += g.parameters;
      tensors += g.tensors;
    }
    EXPECT_EQ(parameters, ParameterCount(spec.model)) << preset;
    EXPECT_EQ(tensors, static_cast<int64_t>(ParameterTable(spec.model).size())) << preset;
  }
}

}  // namespace
}  // namespace tritter
