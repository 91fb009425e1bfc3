#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/testing/status_matchers.h"
#include "model/config.h"

namespace tritter {
namespace {

int64_t Elements(const ParameterSpec& p) {
  int64_t n = 1;
  for (const int64_t d : p.shape) n *= d;
  return n;
}

int64_t Sum(const ModelConfig& config) {
  int64_t sum = 0;
  for (const ParameterSpec& p : ParameterTable(config)) sum += Elements(p);
  return sum;
}

// Worked out from the published formula, apart from this code.
const std::map<std::string, int64_t> kCounts = {
    {"nano", 918912},          {"test", 36178688},   {"100M", 185618688},  {"125M", 213930240},
    {"350M", 536924160},       {"500M", 442552320},  {"1B", 1090590720},   {"3B", 2397449216},
    {"7B", 6207844352},        {"10B", 9261365248},  {"13B", 11681561600}, {"30B", 28068054528},
    {"33B", 30209277696},      {"40B", 42220870656}, {"65B", 56439894016}, {"70B", 69526122496},
    {"bitnet-2B", 2412820480},
};

TEST(ParameterCount, EveryPresetHasItsPublishedNumber) {
  ASSERT_EQ(PresetNames().size(), kCounts.size());
  int64_t previous = 0;
  for (const std::string& name : PresetNames()) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, PresetConfig(name));
    EXPECT_EQ(ParameterCount(config), kCounts.at(name)) << name;
    EXPECT_GE(ParameterCount(config), previous) << name << " stands out of order";
    previous = ParameterCount(config);
  }
}

TEST(ParameterCount, EqualsTheSumOverTheTableForEveryPresetAndSwitch) {
  for (const std::string& name : PresetNames()) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig preset, PresetConfig(name));
    for (int bits = 0; bits < 128; ++bits) {
      ModelConfig config = preset;
      const Family family = bits & 64 ? Family::kLlama : Family::kTritter;
      ApplyFamilyDefaults(bits & 1 ? Family::kBitnet : family, &config);
      config.tied_embeddings = bits & 2;
      config.bias = bits & 4;
      config.norm = bits & 8 ? NormKind::kLayerNorm : NormKind::kRmsNorm;
      config.weight_rule = bits & 16 ? WeightRule::kThreshold : WeightRule::kAbsMean;
      config.lm_head_ternary = bits & 32;
      config.layers = std::min<int64_t>(config.layers, 3);
      EXPECT_EQ(ParameterCount(config), Sum(config)) << name << " " << bits;
    }
    EXPECT_EQ(ParameterCount(preset), Sum(preset)) << name;
  }
}

TEST(ParameterCount, ByteVocabularyGivesTheFiguresOfTheBars) {
  ASSERT_OK_AND_ASSIGN(ModelConfig nano, PresetConfig("nano"));
  nano.vocab = 264;
  EXPECT_EQ(ParameterCount(nano), 855424);
  ASSERT_OK_AND_ASSIGN(ModelConfig test, PresetConfig("test"));
  test.vocab = 264;
  EXPECT_NEAR(ParameterCount(test), 2.76e6, 0.005e6);
}

TEST(ParameterTable, ListsALayerInCanonicalOrder) {
  ASSERT_OK_AND_ASSIGN(ModelConfig config, PresetConfig("nano"));
  config.layers = 1;
  const std::vector<ParameterSpec> expected = {
      {"embed.weight", {512, 128}, ParameterKind::kEmbedding},
      {"layers.0.norm_in.weight", {128}, ParameterKind::kNorm},
      {"layers.0.attn.q.weight", {128, 128}, ParameterKind::kTernary},
      {"layers.0.attn.k.weight", {64, 128}, ParameterKind::kTernary},
      {"layers.0.attn.v.weight", {64, 128}, ParameterKind::kTernary},
      {"layers.0.attn.o.weight", {128, 128}, ParameterKind::kTernary},
      {"layers.0.attn.q_norm.weight", {32}, ParameterKind::kNorm},
      {"layers.0.attn.k_norm.weight", {32}, ParameterKind::kNorm},
      {"layers.0.norm_post.weight", {128}, ParameterKind::kNorm},
      {"layers.0.ffn.gate.weight", {384, 128}, ParameterKind::kTernary},
      {"layers.0.ffn.up.weight", {384, 128}, ParameterKind::kTernary},
      {"layers.0.ffn.down.weight", {128, 384}, ParameterKind::kTernary},
      {"norm.weight", {128}, ParameterKind::kNorm},
      {"head.weight", {512, 128}, ParameterKind::kHead},
  };
  const std::vector<ParameterSpec> table = ParameterTable(config);
  ASSERT_EQ(table.size(), expected.size());
  for (size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(table[i].name, expected[i].name);
    EXPECT_EQ(table[i].shape, expected[i].shape) << table[i].name;
    EXPECT_EQ(table[i].kind, expected[i].kind) << table[i].name;
  }
}

TEST(ParameterTable, MatricesOfOneInputStandTogetherThenTheirScalesThenTheirBiases) {
  ASSERT_OK_AND_ASSIGN(ModelConfig config, PresetConfig("nano"));
  config.bias = true;
  config.weight_rule = WeightRule::kThreshold;
  std::vector<std::string> names;
  for (const ParameterSpec& p : ParameterTable(config)) names.push_back(p.name);
  const auto q = std::find(names.begin(), names.end(), "layers.0.attn.q.weight");
  ASSERT_GE(names.end() - q, 12);
  std::vector<std::string> expected;
  for (const char* kind : {"weight", "scale", "bias"}) {
    for (const char* name : {"q", "k", "v"})
      expected.push_back(std::string("layers.0.attn.") + name + "." + kind);
  }
  for (const char* kind : {"weight", "scale", "bias"})
    expected.push_back(std::string("layers.0.attn.o.") + kind);
  EXPECT_EQ(std::vector<std::string>(q, q + 12), expected);
}

TEST(ParameterTable, BitnetHasSubNormsNoQkNormAndNoHead) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, PresetConfig("bitnet-2B"));
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const ParameterSpec& p : ParameterTable(config)) shapes[p.name] = p.shape;
  EXPECT_EQ(shapes.at("layers.29.attn.sub_norm.weight"), std::vector<int64_t>{2560});
  EXPECT_EQ(shapes.at("layers.29.ffn.sub_norm.weight"), std::vector<int64_t>{6912});
  EXPECT_EQ(shapes.count("layers.0.attn.q_norm.weight"), 0u);
  EXPECT_EQ(shapes.count("head.weight"), 0u);
}

TEST(ParameterTable, NamesAreUnique) {
  for (const std::string& name : PresetNames()) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, PresetConfig(name));
    const std::vector<ParameterSpec> table = ParameterTable(config);
    std::set<std::string> names;
    for (const ParameterSpec& p : table) names.insert(p.name);
    EXPECT_EQ(names.size(), table.size()) << name;
  }
}

TEST(MatrixParameterCount, CountsEveryMatrixOnceAndNoLookup) {
  for (const std::string& name : PresetNames()) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, PresetConfig(name));
    int64_t matrices = config.tied_embeddings ? config.vocab * config.hidden : 0;
    for (const ParameterSpec& p : ParameterTable(config)) {
      if (p.kind == ParameterKind::kTernary || p.kind == ParameterKind::kHead)
        matrices += Elements(p);
    }
    EXPECT_EQ(MatrixParameterCount(config), matrices) << name;
  }
}

}  // namespace
}  // namespace tritter
