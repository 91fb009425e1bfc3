#include "model/gguf/gguf_weights.h"

#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "model/packed_tensor.h"
#include "model/testing/random_weights.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ModelConfig Bitnet() {
  ModelConfig c;
  ApplyFamilyDefaults(Family::kBitnet, &c);
  c.hidden = 256;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 64;
  c.ffn = 512;
  c.vocab = 270;
  c.context = 64;
  c.rope_theta = 10000;
  return c;
}

ModelConfig Llama() {
  ModelConfig c = Bitnet();
  ApplyFamilyDefaults(Family::kLlama, &c);
  return c;
}

class GgufWeightsTest : public ::testing::Test {
 protected:
  absl::StatusOr<GgufResult> Write(const ModelConfig& config, const GgufOptions& options) {
    RandomWeights weights(config, 3);
    return WriteGgufWeights(&env_, &weights, "/m.gguf", options);
  }
  MemoryEnv env_;
};

TEST_F(GgufWeightsTest, EveryTypeKeepsTheCodesAndWhatItLosesIsSaid) {
  for (const GgufArchitecture architecture :
       {GgufArchitecture::kBitnet, GgufArchitecture::kBitnetB158}) {
    for (const GgufType type : {GgufType::kF32, GgufType::kF16, GgufType::kBF16, GgufType::kQ8_0,
                                GgufType::kTQ1_0, GgufType::kTQ2_0}) {
      SCOPED_TRACE(InfoOf(type).name);
      ModelConfig config = Bitnet();
      config.layers = 1;
      ASSERT_OK_AND_ASSIGN(const GgufResult result,
                           Write(config, {architecture, type, GgufType::kF32}));
      ASSERT_OK_AND_ASSIGN(const auto read, OpenGgufWeights(&env_, "/m.gguf"));
      EXPECT_EQ(ModelConfigToYaml(read->config(), 0), ModelConfigToYaml(config, 0));
      EXPECT_EQ(read->origin().run_id, "random");
      EXPECT_EQ(read->origin().step, 40);
      EXPECT_EQ(read->origin().weights, "averaged");
      EXPECT_EQ(read->origin().tokenizer_hash, ByteTokenizer().hash());
      // Of architecture bitnet the scale stands beside the matrix, whose values are -1, 0, +1:
      // exact but for Q8_0, whose 1/127 is rounded.
      const bool exact = type == GgufType::kF32 ||
                         (architecture == GgufArchitecture::kBitnet && type != GgufType::kQ8_0);
      const double bound = exact ? 0 : type == GgufType::kBF16 ? 0x1p-8 : 0x1p-11;
      bool said = false;
      for (const std::string& loss : result.losses) said |= loss.find("scales") != loss.npos;
      EXPECT_EQ(said, !exact);
      RandomWeights weights(config, 3);
      for (const ParameterSpec& parameter : ParameterTable(config)) {
        if (parameter.kind != ParameterKind::kTernary) {
          const absl::Span<const float> want = *weights.Get(parameter);
          ASSERT_OK_AND_ASSIGN(const auto got, read->Get(parameter));
          EXPECT_EQ(got, want) << parameter.name;
          continue;
        }
        ASSERT_OK_AND_ASSIGN(const TernaryCodes want, TernaryCodesOf(&weights, parameter));
        ASSERT_OK_AND_ASSIGN(const TernaryCodes* const got, read->GetCodes(parameter));
        EXPECT_EQ(got->q, want.q) << parameter.name;
        ASSERT_EQ(got->scales.size(), 1u);
        EXPECT_LE(std::fabs(got->scales[0] - want.scales[0]), bound * want.scales[0]);
      }
    }
  }
}

TEST_F(GgufWeightsTest, EmbeddingAndHeadAreOfTheTypeAskedFor) {
  ModelConfig config = Bitnet();
  config.tied_embeddings = false;
  for (const GgufType type : {GgufType::kF16, GgufType::kBF16, GgufType::kQ8_0}) {
    GgufOptions options;
    options.embeddings = type;
    ASSERT_OK_AND_ASSIGN(const GgufResult result, Write(config, options));
    ASSERT_EQ(result.losses.size(), 2u);
    EXPECT_THAT(result.losses[0],
                AllOf(HasSubstr("embedding and head"), HasSubstr(InfoOf(type).name)));
    ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(&env_, "/m.gguf"));
    EXPECT_EQ(file->Find("token_embd.weight")->type, type);
    EXPECT_EQ(file->Find("output.weight")->type, type);
    EXPECT_EQ(file->Find("output_norm.weight")->type, GgufType::kF32);
    ASSERT_OK_AND_ASSIGN(const auto read, OpenGgufWeights(&env_, "/m.gguf"));
    EXPECT_FALSE(read->config().tied_embeddings);
    EXPECT_OK(read->Get({"head.weight", {270, 256}, ParameterKind::kHead}));
  }
}

// llama.cpp turns adjacent pairs of a head: of its converter, permute of HF's halves.
TEST_F(GgufWeightsTest, FamilyLlamaHasTheRowsOfItsHeadsInPairs) {
  for (const bool wide : {false, true}) {
    ModelConfig config = Llama();
    config.layers = 1;
    if (wide) config.head_dim = 128, config.head_dim_given = true;
    ASSERT_OK(Write(config, {{}, GgufType::kF32, GgufType::kF32}));
    ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(&env_, "/m.gguf"));
    EXPECT_EQ(*file->Text("general.architecture"), "llama");
    EXPECT_EQ(*file->Integer("llama.rope.dimension_count"), config.head_dim);
    EXPECT_EQ(file->Find("blk.0.attn_sub_norm.weight"), nullptr);
    RandomWeights weights(config, 3);
    const int64_t d = config.head_dim;
    for (const auto& [ours, theirs, heads] :
         {std::tuple{"q", "blk.0.attn_q.weight", 4}, {"k", "blk.0.attn_k.weight", 2}}) {
      const ParameterSpec parameter{absl::StrCat("layers.0.attn.", ours, ".weight"),
                                    {heads * d, 256},
                                    ParameterKind::kTernary};
      ASSERT_OK_AND_ASSIGN(const TernaryCodes want, TernaryCodesOf(&weights, parameter));
      const GgufTensor* const tensor = file->Find(theirs);
      ASSERT_EQ(tensor->shape, parameter.shape);
      std::vector<float> got(want.q.size());
      DecodeGguf(tensor->type, tensor->bytes.data(), heads * d * 256, got.data());
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < d / 2; ++i) {
          for (const int64_t half : {0, 1}) {
            for (int64_t c = 0; c < 256; c += 37) {
              EXPECT_EQ(got[(h * d + 2 * i + half) * 256 + c],
                        want.q[(h * d + half * d / 2 + i) * 256 + c] * want.scales[0]);
            }
          }
        }
      }
    }
    ASSERT_OK_AND_ASSIGN(const auto read, OpenGgufWeights(&env_, "/m.gguf"));
    EXPECT_EQ(ModelConfigToYaml(read->config(), 0), ModelConfigToYaml(config, 0));
    for (const ParameterSpec& parameter : ParameterTable(config)) {
      if (parameter.kind != ParameterKind::kTernary) continue;
      ASSERT_OK_AND_ASSIGN(const TernaryCodes want, TernaryCodesOf(&weights, parameter));
      ASSERT_OK_AND_ASSIGN(const TernaryCodes* const got, read->GetCodes(parameter));
      EXPECT_EQ(got->q, want.q) << parameter.name;
    }
  }
}

TEST_F(GgufWeightsTest, FamilyLlamaIsRefusedWhereItIsAnotherFunction) {
  const auto with = [&](const std::function<void(GgufMetadata*)>& add, const char* tensor) {
    GgufMetadata metadata;
    metadata.Text("general.architecture", "llama");
    add(&metadata);
    std::vector<GgufTensorToWrite> tensors;
    if (tensor != nullptr) {
      tensors.push_back({tensor, {1}, GgufType::kF32, [](const GgufAppend& append) {
                           return append(std::string(4, '\0'));
                         }});
    }
    EXPECT_OK(WriteGguf(&env_, "/o.gguf", metadata, tensors));
    return OpenGgufWeights(&env_, "/o.gguf").status();
  };
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  EXPECT_THAT(with([](GgufMetadata* m) { m->Text("llama.rope.scaling.type", "yarn"); }, nullptr),
              StatusIs(kUnimplemented, HasSubstr("`llama.rope.scaling.type` is yarn")));
  EXPECT_THAT(with([](GgufMetadata*) {}, "rope_freqs.weight"),
              StatusIs(kUnimplemented, HasSubstr("rope_type llama3")));
  EXPECT_THAT(with([](GgufMetadata*) {}, nullptr),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("`llama.context_length` is")));
}

// The names, keys and the vocabulary that other programs ask for.
TEST_F(GgufWeightsTest, KeysAndNamesAreThoseOfTheField) {
  ASSERT_OK(Write(Bitnet(), {GgufArchitecture::kBitnet, GgufType::kTQ2_0, GgufType::kF16}));
  ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(&env_, "/m.gguf"));
  EXPECT_EQ(*file->Text("general.architecture"), "bitnet");
  EXPECT_EQ(*file->Integer("general.file_type"), 37);
  EXPECT_EQ(*file->Integer("bitnet.embedding_length"), 256);
  EXPECT_EQ(*file->Integer("bitnet.attention.head_count_kv"), 2);
  EXPECT_EQ(*file->Number("bitnet.rope.freq_base"), 10000);
  EXPECT_EQ(*file->Number("bitnet.attention.layer_norm_rms_epsilon"), 1e-5f);
  ASSERT_OK_AND_ASSIGN(const auto tokens, file->Texts("tokenizer.ggml.tokens"));
  ASSERT_EQ(tokens.size(), 270u);
  EXPECT_EQ(tokens[2], "<eos>");
  EXPECT_EQ(tokens[8 + 'A'], "A");
  EXPECT_EQ(tokens[8 + ' '], "Ġ");
  EXPECT_EQ(tokens[269], "<unused269>");
  EXPECT_TRUE(file->Texts("tokenizer.ggml.merges")->empty());
  for (const char* name :
       {"token_embd.weight", "blk.0.attn_norm.weight", "blk.1.attn_q.weight", "blk.1.attn_q.scale",
        "blk.0.attn_output.weight", "blk.0.attn_sub_norm.weight", "blk.0.ffn_norm.weight",
        "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight", "blk.0.ffn_down.scale",
        "blk.1.ffn_sub_norm.weight", "output_norm.weight"})
    EXPECT_NE(file->Find(name), nullptr) << name;
  EXPECT_EQ(file->Find("blk.0.attn_k.weight")->shape, (std::vector<int64_t>{128, 256}));
  for (const ParameterSpec& parameter : ParameterTable(Bitnet()))
    EXPECT_NE(GgufTensorName(parameter.name), parameter.name);
}

TEST_F(GgufWeightsTest, RefusesWhatNoArchitectureHas) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const auto expect = [](const ModelConfig& config, const GgufOptions& options,
                         const std::string& message) {
    EXPECT_THAT(CheckGgufExpressible(config, options), StatusIs(kInvalid, HasSubstr(message)));
  };
  ModelConfig c = Bitnet();
  EXPECT_OK(CheckGgufExpressible(c, {}));
  c.family = Family::kTritter;
  expect(c, {}, "qk_norm");
  c = Bitnet();
  c.head_dim = 32;
  c.head_dim_given = true;
  expect(c, {}, "head_dim 32");
  c = Bitnet();
  c.tied_embeddings = false;
  EXPECT_OK(CheckGgufExpressible(c, {}));
  expect(c, {GgufArchitecture::kBitnet, GgufType::kTQ2_0, GgufType::kF16}, "tied_embeddings");
  expect(Llama(), {GgufArchitecture::kBitnet, GgufType::kTQ2_0, GgufType::kF16},
         "architecture bitnet is not for family llama");
  expect(Bitnet(), {GgufArchitecture::kLlama, GgufType::kTQ2_0, GgufType::kF16},
         "expected bitnet-b1.58 or bitnet");
  c = Llama();
  EXPECT_OK(CheckGgufExpressible(c, {}));
  c.head_dim = 32;
  c.head_dim_given = true;
  expect(c, {}, "heads · head_dim is 128");
  c = Bitnet();
  c.ffn = 384;
  expect(c, {}, "ffn is 384");
  EXPECT_OK(CheckGgufExpressible(c, {GgufArchitecture::kBitnet, GgufType::kF16, GgufType::kF16}));
  c = Bitnet();
  c.attention = AttentionMode::kSlidingWindow;
  c.window = 16;
  expect(c, {}, "has attention causal only, the model has sliding_window; write tpack instead");
  EXPECT_THAT(Write(c, {}), StatusIs(kInvalid, HasSubstr("attention")));
}

TEST_F(GgufWeightsTest, RefusesWhatOtherProgramsComputeOtherwise) {
  const auto file_of = [&](const std::string& architecture, bool activation) {
    GgufMetadata metadata;
    metadata.Text("general.architecture", architecture);
    if (activation) metadata.Text("tritter.ffn_activation", "silu");
    EXPECT_OK(WriteGguf(&env_, "/o.gguf", metadata, {}));
    return OpenGgufWeights(&env_, "/o.gguf").status();
  };
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  EXPECT_THAT(file_of("bitnet", false), StatusIs(kUnimplemented, HasSubstr("SiLU")));
  EXPECT_THAT(file_of("bitnet", true), StatusIs(kUnimplemented, HasSubstr("SiLU")));
  EXPECT_THAT(file_of("qwen2", false), StatusIs(kUnimplemented, HasSubstr("is qwen2")));
  EXPECT_THAT(file_of("bitnet-25", false),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("`bitnet-25.context_length` is")));
}

// Bytes of the file, `from` replaced by `to` wherever it first stands.
TEST_F(GgufWeightsTest, SaysWhichTensorIsWrong) {
  ASSERT_OK(Write(Bitnet(), {}));
  const std::string whole = *env_.ReadFile("/m.gguf");
  const auto with = [&](size_t at, const std::string& to) {
    std::string bytes = whole;
    bytes.replace(at, to.size(), to);
    EXPECT_OK(WriteFileAtomically(&env_, "/bad.gguf", bytes));
    const auto source = OpenGgufWeights(&env_, "/bad.gguf");
    if (!source.ok()) return source.status();
    for (const ParameterSpec& parameter : ParameterTable((*source)->config())) {
      if (const auto values = (*source)->Get(parameter); !values.ok()) return values.status();
    }
    return absl::OkStatus();
  };
  constexpr auto kData = absl::StatusCode::kDataLoss;
  EXPECT_OK(with(0, "GGUF"));
  EXPECT_THAT(with(whole.find("blk.1.attn_v.weight"), "blk.1.attn_x.weight"),
              StatusIs(kData, HasSubstr("`blk.1.attn_v.weight` is missing, expected [128, 256]")));
  const size_t heads = whole.find("attention.head_count_kv") + 23 + 4;
  EXPECT_THAT(
      with(heads, std::string("\1", 1)),
      StatusIs(kData, HasSubstr("`blk.0.attn_k.weight` is [128, 256], expected [64, 256]")));
  ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(&env_, "/m.gguf"));
  const size_t down = file->Find("blk.0.ffn_down.weight")->offset;
  EXPECT_THAT(
      with(down + 70, "\xFF"),
      StatusIs(kData, AllOf(HasSubstr("`blk.0.ffn_down.weight`: byte 70"), HasSubstr("code 3"))));
  EXPECT_THAT(with(down + 66 + 64, std::string("\x00\x10", 2)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("row 0, column 2"), HasSubstr("not ternary"))));
  EXPECT_THAT(with(down + 64, std::string("\x00\x7E", 2)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is nan")));
  EXPECT_THAT(with(file->Find("output_norm.weight")->offset, std::string("\0\0\xC0\x7F", 4)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("`output_norm.weight`, element 0 is nan")));
}

TEST_F(GgufWeightsTest, AValueBeyondF16IsRefused) {
  ModelConfig config = Bitnet();
  class Large : public RandomWeights {
   public:
    using RandomWeights::RandomWeights;
    absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
      auto values = RandomWeights::Get(parameter);
      if (parameter.kind != ParameterKind::kEmbedding) return values;
      copy_.assign(values->begin(), values->end());
      copy_[256 + 5] = 70000;
      return absl::MakeConstSpan(copy_);
    }
    std::vector<float> copy_;
  } weights(config, 3);
  EXPECT_THAT(
      WriteGgufWeights(&env_, &weights, "/m.gguf", {}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("token_embd.weight"), HasSubstr("row 1, column 5 is 70000"))));
  EXPECT_OK(WriteGgufWeights(&env_, &weights, "/m.gguf",
                             {GgufArchitecture::kBitnet, GgufType::kTQ2_0, GgufType::kBF16}));
}

TEST_F(GgufWeightsTest, AForeignTokenizerIsNotTakenForOurs) {
  ModelConfig config = Bitnet();
  class Foreign : public RandomWeights {
   public:
    Foreign(const ModelConfig& config)
        : RandomWeights(config, 3), origin_(RandomWeights::origin()) {
      origin_.tokenizer_hash = std::string(64, 'f');
    }
    const WeightOrigin& origin() const override { return origin_; }
    WeightOrigin origin_;
  } weights(config);
  ASSERT_OK_AND_ASSIGN(const GgufResult result, WriteGgufWeights(&env_, &weights, "/m.gguf", {}));
  EXPECT_THAT(result.losses.back(), HasSubstr("the tokenizer is not in the file"));
  ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(&env_, "/m.gguf"));
  EXPECT_EQ(*file->Text("tokenizer.ggml.model"), "none");
  ASSERT_OK_AND_ASSIGN(const auto read, OpenGgufWeights(&env_, "/m.gguf"));
  EXPECT_EQ(read->origin().tokenizer_hash, std::string(64, 'f'));
}

}  // namespace
}  // namespace tritter
