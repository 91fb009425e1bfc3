#include "model/hf_format.h"

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

ModelConfig SmallBitnet() {
  ModelConfig c;
  ApplyFamilyDefaults(Family::kBitnet, &c);
  c.hidden = 32;
  c.layers = 3;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.ffn = 48;
  c.vocab = 300;
  c.context = 64;
  c.rope_theta = 10000;
  return c;
}

TEST(HfTensorName, NamesEveryParameterOfTheFamily) {
  EXPECT_EQ(HfTensorName("embed.weight", Family::kBitnet), "model.embed_tokens.weight");
  EXPECT_EQ(HfTensorName("layers.12.norm_in.weight", Family::kBitnet),
            "model.layers.12.input_layernorm.weight");
  EXPECT_EQ(HfTensorName("layers.0.attn.k.weight", Family::kBitnet),
            "model.layers.0.self_attn.k_proj.weight");
  EXPECT_EQ(HfTensorName("layers.0.attn.sub_norm.weight", Family::kBitnet),
            "model.layers.0.self_attn.attn_sub_norm.weight");
  EXPECT_EQ(HfTensorName("layers.7.norm_post.weight", Family::kBitnet),
            "model.layers.7.post_attention_layernorm.weight");
  EXPECT_EQ(HfTensorName("layers.7.norm_post.weight", Family::kTritter),
            "model.layers.7.post_layernorm.weight");
  EXPECT_EQ(HfTensorName("layers.7.attn.q_norm.weight", Family::kTritter),
            "model.layers.7.self_attn.q_norm.weight");
  EXPECT_EQ(HfTensorName("layers.0.ffn.down.weight", Family::kBitnet),
            "model.layers.0.mlp.down_proj.weight");
  EXPECT_EQ(HfTensorName("layers.0.ffn.sub_norm.weight", Family::kBitnet),
            "model.layers.0.mlp.ffn_sub_norm.weight");
  EXPECT_EQ(HfTensorName("norm.weight", Family::kBitnet), "model.norm.weight");
  EXPECT_EQ(HfTensorName("head.weight", Family::kBitnet), "lm_head.weight");
  ModelConfig untied = SmallBitnet();
  untied.tied_embeddings = false;
  ModelConfig tritter = untied;
  ApplyFamilyDefaults(Family::kTritter, &tritter);
  for (const ModelConfig& config : {untied, tritter}) {
    for (const ParameterSpec& parameter : ParameterTable(config))
      EXPECT_NE(HfTensorName(parameter.name, config.family), parameter.name);
  }
}

TEST(HfConfig, ReadsBackWhatItWrites) {
  for (const HfWeights weights : {HfWeights::kPlain, HfWeights::kPackedScale}) {
    for (const bool tied : {true, false}) {
      HfConfig config{SmallBitnet(), weights, true};
      config.model.tied_embeddings = tied;
      ASSERT_OK_AND_ASSIGN(const HfConfig read, ParseHfConfig(HfConfigText(config), "config.json"));
      EXPECT_EQ(ModelConfigToYaml(read.model, 0), ModelConfigToYaml(config.model, 0));
      EXPECT_EQ(read.weights, weights);
      for (const ScaleGranularity granularity :
           {ScaleGranularity::kRow, ScaleGranularity::kTensor}) {
        config.model.family = Family::kTritter;
        config.model.granularity = granularity;
        config.model.head_dim = 12;
        config.model.head_dim_given = true;
        ASSERT_OK_AND_ASSIGN(const HfConfig ours,
                             ParseHfConfig(HfConfigText(config), "config.json"));
        EXPECT_EQ(ModelConfigToYaml(ours.model, 0), ModelConfigToYaml(config.model, 0));
      }
    }
  }
}

std::string With(const std::string& from, const std::string& to) {
  std::string text = HfConfigText({SmallBitnet(), HfWeights::kPlain, true});
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(HfConfig, RefusesWhatChangesTheNumbers) {
  const auto expect = [](const std::string& text, absl::StatusCode code, const char* message) {
    EXPECT_THAT(ParseHfConfig(text, "/m/config.json").status(),
                StatusIs(code, ::testing::AllOf(HasSubstr("/m/config.json"), HasSubstr(message))));
  };
  constexpr absl::StatusCode kData = absl::StatusCode::kDataLoss,
                             kNot = absl::StatusCode::kUnimplemented;
  expect(With("\"bitnet\"", "\"llama\""), kNot, "`model_type` is \"llama\"");
  expect(With("\"hidden_size\": 32", "\"hidden_size\": -32"), kData, "`hidden_size` is -32");
  expect(With("\"hidden_size\": 32,", ""), kData, "`hidden_size` is missing");
  expect(With("\"hidden_size\": 32", "\"hidden_size\": 33"), absl::StatusCode::kInvalidArgument,
         "hidden, which is 33");
  expect(With("\"relu2\"", "\"silu\""), kNot, "`hidden_act` is \"silu\"");
  expect(With("\"attention_bias\": false", "\"attention_bias\": true"), kNot, "attention_bias");
  expect(With("\"rope_type\": \"default\"", "\"rope_type\": \"yarn\""), kNot, "\"yarn\"");
  expect(With("\"rope_theta\": 10000.0", "\"rope_theta\": 5.0"), kData,
         "rope_parameters.rope_theta");
  expect(With("\"quantization_config\"", "\"other\""), kNot, "float weights");
  expect(With("\"quantization_mode\": \"online\"", "\"use_rms_norm\": true"), kNot, "use_rms_norm");
  expect(With("\"autobitlinear\"", "\"linear\""), kNot, "`linear_class` is linear");
  expect(With("\"lm_head\"", "\"model.layers.0.mlp.down_proj\""), kNot, "modules_to_not_convert");
  expect(With("\"use_cache\": true", "\"vocab_size\": 1"), kData, "given twice");
  expect("[1]", kData, "expected a JSON object");
  expect("{\"a\"", kData, "not JSON");
}

TEST(HfConfig, ReadsTheFormsOfTheLibrary) {
  ASSERT_OK_AND_ASSIGN(
      HfConfig read,
      ParseHfConfig(With("\"linear_class\": \"autobitlinear\",", ""), "config.json"));
  EXPECT_EQ(read.weights, HfWeights::kPackedInverseScale);
  ASSERT_OK_AND_ASSIGN(read, ParseHfConfig(With("\"quantization_mode\": \"online\"",
                                                "\"quantization_mode\": \"offline\""),
                                           "config.json"));
  EXPECT_EQ(read.weights, HfWeights::kPackedScale);
}

TEST(CheckHfExpressible, NamesTheSwitchThatTheFormHasNot) {
  EXPECT_OK(CheckHfExpressible(SmallBitnet()));
  ModelConfig c = SmallBitnet();
  c.family = Family::kTritter;
  EXPECT_OK(CheckHfExpressible(c));
  c.norm = NormKind::kLayerNorm;
  EXPECT_THAT(CheckHfExpressible(c),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layernorm")));
  c = SmallBitnet();
  c.head_dim = 16;
  c.head_dim_given = true;
  EXPECT_THAT(CheckHfExpressible(c),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("head_dim 16")));
  c = SmallBitnet();
  c.attention = AttentionMode::kSlidingWindow;
  EXPECT_THAT(CheckHfExpressible(c),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sliding_window")));
  c = SmallBitnet();
  c.activations = ActivationRule::kNone;
  EXPECT_THAT(CheckHfExpressible(c),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("activations")));
}

TEST(HfPack, RowsOfAQuarterShareAByte) {
  const int8_t q[8] = {-1, 0, 1, 1, 0, -1, 1, 0};  // 4 rows of 2 columns
  uint8_t packed[2];
  HfPack(q, 4, 2, packed);
  EXPECT_EQ(packed[0], 0b10011000);
  EXPECT_EQ(packed[1], 0b01001001);
  int8_t back[8];
  int64_t bad = -1;
  ASSERT_TRUE(HfUnpack(packed, 4, 2, back, &bad));
  EXPECT_TRUE(std::equal(q, q + 8, back));
  packed[1] = 0b01110001;
  EXPECT_FALSE(HfUnpack(packed, 4, 2, back, &bad));
  EXPECT_EQ(bad, 1);
}

}  // namespace
}  // namespace tritter
