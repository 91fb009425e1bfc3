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

ModelConfig SmallLlama() {
  ModelConfig c = SmallBitnet();
  ApplyFamilyDefaults(Family::kLlama, &c);
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
  EXPECT_EQ(HfTensorName("layers.7.norm_post.weight", Family::kLlama),
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
  for (const ModelConfig& config : {untied, tritter, SmallLlama()}) {
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

TEST(HfConfig, FamilyLlamaIsTheLibrarysLlama) {
  for (const bool wide : {false, true}) {
    HfConfig config{SmallLlama(), HfWeights::kPackedScale, true};
    if (wide) config.model.head_dim = 16, config.model.head_dim_given = true;
    const std::string text = HfConfigText(config);
    EXPECT_THAT(text, HasSubstr("\"LlamaForCausalLM\""));
    EXPECT_THAT(text, HasSubstr("\"hidden_act\": \"silu\""));
    EXPECT_THAT(text, HasSubstr("\"mlp_bias\": false"));
    ASSERT_OK_AND_ASSIGN(const HfConfig read, ParseHfConfig(text, "config.json"));
    EXPECT_EQ(ModelConfigToYaml(read.model, 0), ModelConfigToYaml(config.model, 0));
    EXPECT_OK(CheckHfExpressible(config.model));
  }
}

// What a folder of the library says at least, its defaults left out.
constexpr char kLlama[] = R"({"model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 300,
    "max_position_embeddings": 64, "rope_scaling": null,
    "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": null}})";

TEST(HfConfig, FamilyLlamaHasTheLibrarysDefaults) {
  ASSERT_OK_AND_ASSIGN(const HfConfig read, ParseHfConfig(kLlama, "config.json"));
  EXPECT_EQ(read.model.family, Family::kLlama);
  EXPECT_EQ(read.model.rope_theta, 10000.0);
  EXPECT_EQ(read.model.norm_eps, 1e-6);
  EXPECT_EQ(read.model.kv_heads, 4);
  EXPECT_FALSE(read.model.tied_embeddings);
  EXPECT_EQ(read.model.granularity, ScaleGranularity::kTensor);
  EXPECT_EQ(read.weights, HfWeights::kPackedInverseScale);
}

TEST(HfConfig, RefusesWhatOurLlamaHasNot) {
  const auto expect = [](const std::string& from, const std::string& to, const char* message) {
    std::string text = kLlama;
    const size_t at = text.find(from);
    ASSERT_NE(at, text.npos) << from;
    EXPECT_THAT(ParseHfConfig(text.replace(at, from.size(), to), "c.json").status(),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(message)));
  };
  expect("\"rope_scaling\": null", R"("rope_scaling": {"rope_type": "llama3", "factor": 8.0})",
         "`rope_scaling` is of type llama3");
  expect("\"rope_scaling\": null", R"("rope_scaling": {"type": "linear", "factor": 2.0})",
         "`rope_scaling` is of type linear");
  expect("\"rope_scaling\": null", R"("rope_parameters": {"rope_type": "llama3"})", "\"llama3\"");
  expect("\"rope_scaling\": null", "\"mlp_bias\": true", "`mlp_bias` is true");
  expect("\"rope_scaling\": null", "\"hidden_act\": \"gelu\"", "`hidden_act` is \"gelu\"");
  expect("\"llama\"", "\"mistral\"", "expected \"tritter\", \"bitnet\", \"llama\"");
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
  expect(With("\"bitnet\"", "\"gemma\""), kNot, "`model_type` is \"gemma\"");
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
