#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/testing/status_matchers.h"
#include "common/yaml.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<ModelConfig> Read(const std::string& yaml) {
  absl::StatusOr<YamlDocument> document = YamlDocument::Parse(yaml, "m.yaml");
  if (!document.ok()) return document.status();
  const ModelConfig config = ReadModelConfig(document->Root());
  const absl::Status status = document->Finish();
  if (!status.ok()) return status;
  return config;
}

TEST(PresetConfig, EveryPresetIsValid) {
  for (const std::string& name : PresetNames()) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, PresetConfig(name));
    EXPECT_OK(ValidateConfig(config)) << name;
    EXPECT_EQ(config.preset, name);
    EXPECT_EQ(config.rope_theta, 500000.0);
  }
}

TEST(PresetConfig, UnknownNameSuggestsTheNearest) {
  EXPECT_THAT(PresetConfig("nanno").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("did you mean `nano`")));
  EXPECT_THAT(PresetConfig("").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nano, test")));
}

TEST(PresetConfig, FamiliesDifferAsSpecified) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig tritter, PresetConfig("nano"));
  EXPECT_TRUE(tritter.qk_norm());
  EXPECT_FALSE(tritter.sub_norms());
  EXPECT_FALSE(tritter.ffn_pre_norm());
  EXPECT_FALSE(tritter.tied_embeddings);
  EXPECT_EQ(tritter.granularity, ScaleGranularity::kRow);
  ASSERT_OK_AND_ASSIGN(const ModelConfig bitnet, PresetConfig("bitnet-2B"));
  EXPECT_FALSE(bitnet.qk_norm());
  EXPECT_TRUE(bitnet.sub_norms());
  EXPECT_TRUE(bitnet.ffn_pre_norm());
  EXPECT_TRUE(bitnet.tied_embeddings);
  EXPECT_EQ(bitnet.granularity, ScaleGranularity::kTensor);
  ModelConfig llama = tritter;
  ApplyFamilyDefaults(Family::kLlama, &llama);
  EXPECT_FALSE(llama.qk_norm());
  EXPECT_FALSE(llama.sub_norms());
  EXPECT_TRUE(llama.ffn_pre_norm());
  EXPECT_EQ(llama.ffn_activation(), FfnActivation::kSilu);
  EXPECT_EQ(bitnet.ffn_activation(), FfnActivation::kSquaredRelu);
  EXPECT_FALSE(llama.tied_embeddings);
  EXPECT_EQ(llama.granularity, ScaleGranularity::kTensor);
}

TEST(Families, AreFoundByName) {
  for (const std::string& name : FamilyNames()) {
    ASSERT_OK_AND_ASSIGN(const Family family, FindFamily(name));
    EXPECT_EQ(FamilyName(family), name);
  }
  EXPECT_THAT(FindFamily("mamba").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("tritter, bitnet, llama")));
}

TEST(CheckTrainable, FamilyLlamaIsNot) {
  ASSERT_OK_AND_ASSIGN(ModelConfig config, PresetConfig("nano"));
  EXPECT_OK(CheckTrainable(config));
  ApplyFamilyDefaults(Family::kLlama, &config);
  EXPECT_OK(ValidateConfig(config));
  EXPECT_OK(CheckPackable(config));
  EXPECT_THAT(CheckTrainable(config), StatusIs(absl::StatusCode::kUnimplemented,
                                               HasSubstr("family llama cannot be trained")));
}

TEST(ValidateConfig, NamesFieldActualAndExpected) {
  struct Case {
    void (*change)(ModelConfig*);
    const char* message;
  };
  const Case kCases[] = {
      {[](ModelConfig* c) { c->kv_heads = 3; },
       "kv_heads is 3, expected a divisor of heads, which is 4"},
      {[](ModelConfig* c) { c->hidden = 130; },
       "heads 4 times head_dim 32 is 128, expected hidden, which is 130"},
      {[](ModelConfig* c) { c->head_dim = 33, c->head_dim_given = true; },
       "head_dim is 33, expected an even number"},
      {[](ModelConfig* c) { c->vocab = 263; }, "vocab is 263, expected 264"},
      {[](ModelConfig* c) { c->hidden = 1 << 20, c->ffn = 1 << 22, c->layers = 4096; },
       "parameters, expected at most 281474976710656; make hidden"},
      {[](ModelConfig* c) { c->layers = 0; }, "layers is 0, expected 1 to 4096"},
      {[](ModelConfig* c) { c->heads = -1; }, "heads is -1, expected 1"},
      {[](ModelConfig* c) { c->attention = AttentionMode::kSinks, c->sinks = 4; },
       "window is 0, expected at least 1 with attention sinks"},
      {[](ModelConfig* c) { c->attention = AttentionMode::kSinks, c->window = 64; },
       "sinks is 0, expected at least 1"},
      {[](ModelConfig* c) { c->lm_head_ternary = c->tied_embeddings = true; },
       "lm_head is ternary, expected full with tied embeddings"},
      {[](ModelConfig* c) { c->window = 64; }, "window is 64, expected none with attention causal"},
      {[](ModelConfig* c) { c->sinks = 4; }, "sinks is 4, expected none with attention causal"},
      {[](ModelConfig* c) { c->attention = AttentionMode::kSinks, c->window = 64, c->sinks = 513; },
       "sinks is 513, expected at most context, which is 512"},
      {[](ModelConfig* c) { c->attention = AttentionMode::kSlidingWindow, c->window = 1024; },
       "window is 1024, expected at most context, which is 512"},
      {[](ModelConfig* c) { c->attention = AttentionMode::kPrefixLm; },
       "prefix is 0, expected 1 to context, which is 512, with attention prefix_lm"},
      {[](ModelConfig* c) { c->attention = AttentionMode::kPrefixLm, c->prefix = 513; },
       "prefix is 513, expected 1 to context"},
      {[](ModelConfig* c) { c->prefix = 8; }, "prefix is 8, expected none with attention causal"},
      {[](ModelConfig* c) { c->rope_theta = 0; }, "rope_theta is 0, expected more than 1"},
      {[](ModelConfig* c) { c->norm_eps = 0; }, "norm_eps is 0, expected more than 0"},
      {[](ModelConfig* c) {
         ApplyFamilyDefaults(Family::kBitnet, c), c->norm = NormKind::kLayerNorm;
       },
       "norm is layernorm, expected rmsnorm with family bitnet"},
  };
  for (const Case& c : kCases) {
    ASSERT_OK_AND_ASSIGN(ModelConfig config, PresetConfig("nano"));
    c.change(&config);
    EXPECT_THAT(ValidateConfig(config),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

TEST(ReadModelConfig, AnExplicitFieldWinsOverPresetAndFamily) {
  ASSERT_OK_AND_ASSIGN(
      const ModelConfig config,
      Read("{preset: nano, family: bitnet, vocab: 264, tied_embeddings: false, kv_heads: 1}"));
  EXPECT_EQ(config.vocab, 264);
  EXPECT_EQ(config.kv_heads, 1);
  EXPECT_EQ(config.family, Family::kBitnet);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(config.granularity, ScaleGranularity::kTensor);
}

TEST(ReadModelConfig, HeadDimFollowsHiddenAndHeadsUnlessGiven) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig wider, Read("{preset: nano, hidden: 256}"));
  EXPECT_EQ(wider.head_dim, 64);
  EXPECT_FALSE(wider.head_dim_given);
  ASSERT_OK_AND_ASSIGN(const ModelConfig given, Read("{preset: nano, head_dim: 64}"));
  EXPECT_EQ(given.head_dim, 64);
  EXPECT_TRUE(given.head_dim_given);
}

TEST(ReadModelConfig, WorksWithoutAPreset) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig config,
                       Read("{hidden: 96, layers: 2, heads: 3, ffn: 256, context: 64}"));
  EXPECT_EQ(config.preset, "");
  EXPECT_EQ(config.kv_heads, 3);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.vocab, 65536);
  EXPECT_THAT(Read("{hidden: 96, layers: 2, heads: 3, ffn: 256}").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`context` is missing")));
}

TEST(ReadModelConfig, PlacesAProblemAtTheKeyTheUserWrote) {
  EXPECT_THAT(
      Read("preset: nano\nheads: 3\nhidden: 96\n").status(),
      StatusIs(
          absl::StatusCode::kInvalidArgument,
          HasSubstr("m.yaml:2:8: heads: kv_heads is 2, expected a divisor of heads, which is 3")));
  EXPECT_THAT(Read("preset: nanno\n").status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("m.yaml:1:9: preset: no preset is called `nanno`")));
}

TEST(CheckPackable, NamesTheSwitchThatIsNotServed) {
  struct Case {
    void (*change)(ModelConfig*);
    const char* message;
  };
  const Case kCases[] = {
      {[](ModelConfig* c) { c->norm = NormKind::kLayerNorm; }, "norm layernorm"},
      {[](ModelConfig* c) { c->bias = true; }, "bias true"},
      {[](ModelConfig* c) { c->lm_head_ternary = true; }, "lm_head ternary"},
      {[](ModelConfig* c) { c->weight_rule = WeightRule::kThreshold; }, "weight_rule threshold"},
      {[](ModelConfig* c) { c->weight_rule = WeightRule::kNone; }, "weight_rule none"},
      {[](ModelConfig* c) { c->activations = ActivationRule::kNone; }, "activations none"},
      {[](ModelConfig* c) { c->attention = AttentionMode::kBidirectional; },
       "attention bidirectional"},
  };
  ASSERT_OK_AND_ASSIGN(const ModelConfig nano, PresetConfig("nano"));
  for (const Case& c : kCases) {
    ModelConfig config = nano;
    c.change(&config);
    EXPECT_THAT(CheckPackable(config),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
  ASSERT_OK_AND_ASSIGN(ModelConfig bitnet, PresetConfig("bitnet-2B"));
  EXPECT_OK(CheckPackable(nano));
  EXPECT_OK(CheckPackable(bitnet));
  ModelConfig sinks = nano;
  sinks.attention = AttentionMode::kSinks;
  sinks.window = 64;
  sinks.sinks = 4;
  EXPECT_OK(CheckPackable(sinks));
  bitnet.granularity = ScaleGranularity::kRow;
  EXPECT_THAT(CheckPackable(bitnet), StatusIs(absl::StatusCode::kInvalidArgument,
                                              HasSubstr("granularity row of family bitnet")));
}

TEST(ModelConfigToYaml, ReadsBackToTheSameText) {
  for (const std::string& name : PresetNames()) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, PresetConfig(name));
    const std::string text = ModelConfigToYaml(config, 0);
    ASSERT_OK_AND_ASSIGN(const ModelConfig again, Read(text));
    EXPECT_EQ(ModelConfigToYaml(again, 0), text);
    EXPECT_EQ(again.head_dim_given, config.head_dim_given);
  }
  ASSERT_OK_AND_ASSIGN(
      const ModelConfig odd,
      Read("{preset: test, head_dim: 48, attention: sinks, window: 100, sinks: 4, norm: layernorm, "
           "bias: true, "
           "lm_head: ternary, weight_rule: threshold, granularity: tensor, activations: none, "
           "rope_theta: 10000.5, norm_eps: 1.0e-6}"));
  const std::string text = ModelConfigToYaml(odd, 0);
  ASSERT_OK_AND_ASSIGN(const ModelConfig again, Read(text));
  EXPECT_EQ(ModelConfigToYaml(again, 0), text);
  EXPECT_TRUE(again.head_dim_given);
  EXPECT_TRUE(again.lm_head_ternary);
  EXPECT_EQ(again.attention, AttentionMode::kSinks);
  EXPECT_EQ(again.rope_theta, 10000.5);
  ASSERT_OK_AND_ASSIGN(const ModelConfig prefix,
                       Read("{preset: nano, attention: prefix_lm, prefix: 100}"));
  ASSERT_OK_AND_ASSIGN(const ModelConfig prefix_again, Read(ModelConfigToYaml(prefix, 0)));
  EXPECT_EQ(prefix_again.prefix, 100);
}

}  // namespace
}  // namespace tritter
