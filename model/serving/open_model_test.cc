#include "model/serving/open_model.h"

#include <cstring>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "model/export.h"
#include "model/packed_tensor.h"
#include "model/testing/random_weights.h"
#include "model/tpack.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

ModelConfig SmallModel(Family family) {
  ModelConfig c;
  ApplyFamilyDefaults(family, &c);
  c.hidden = 48;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 12;
  c.ffn = 80;
  c.vocab = 264;
  c.context = 64;
  return c;
}

class OpenModelTest : public ::testing::Test {
 protected:
  std::string Export(const ModelConfig& config, const std::string& path, const std::string& format,
                     bool masters = false) {
    RandomWeights weights(config, 3);
    ExportOptions options;
    options.format = format;
    options.masters = masters;
    const auto result = ExportWeights(&env_, &weights, path, options);
    EXPECT_OK(result.status());
    return path;
  }

  static void ExpectSame(PackedModelFile* want, PackedModelFile* got) {
    EXPECT_EQ(ModelConfigToYaml(got->config(), 0), ModelConfigToYaml(want->config(), 0));
    EXPECT_EQ(got->tokenizer_hash(), want->tokenizer_hash());
    EXPECT_EQ(got->provenance().run_id, want->provenance().run_id);
    EXPECT_EQ(got->provenance().step, want->provenance().step);
    EXPECT_EQ(got->names(), want->names());
    EXPECT_OK(got->VerifyAll());
    for (const std::string& name : want->names()) {
      ASSERT_OK_AND_ASSIGN(const TpackTensor w, want->Get(name));
      ASSERT_OK_AND_ASSIGN(const TpackTensor g, got->Get(name));
      EXPECT_EQ(g.type, w.type) << name;
      EXPECT_EQ(g.shape, w.shape) << name;
      EXPECT_EQ(g.data, w.data) << name;
      EXPECT_EQ(g.scales, w.scales) << name;
    }
  }

  MemoryEnv env_;
};

TEST_F(OpenModelTest, EveryContainerGivesTheModelThatTheTpackHolds) {
  for (const Family family : {Family::kTritter, Family::kBitnet, Family::kLlama}) {
    SCOPED_TRACE(FamilyName(family));
    const ModelConfig config = SmallModel(family);
    const std::string folder = std::string("/") + FamilyName(family);
    ASSERT_OK(env_.CreateDirs(folder));
    ASSERT_OK_AND_ASSIGN(const auto want,
                         OpenModel(&env_, Export(config, folder + "/m.tpack", "tpack")));
    EXPECT_EQ(want->file_bytes(), *env_.FileSize(folder + "/m.tpack"));
    for (const auto& [path, format, masters] : {std::tuple{"/packed", "hf", false},
                                                {"/masters", "hf", true},
                                                {"/m.safetensors", "safetensors", false}}) {
      SCOPED_TRACE(path);
      ASSERT_OK_AND_ASSIGN(const auto got,
                           OpenModel(&env_, Export(config, folder + path, format, masters)));
      ExpectSame(want.get(), got.get());
      EXPECT_GT(got->file_bytes(), want->file_bytes() / 2);
    }
  }
}

TEST_F(OpenModelTest, AGgufGivesTheModelThatTheTpackHolds) {
  ModelConfig config = SmallModel(Family::kBitnet);
  config.hidden = 256;
  config.head_dim = 64;
  config.ffn = 256;
  const std::string path = Export(config, "/m.tpack", "tpack");
  ASSERT_OK_AND_ASSIGN(const auto want, OpenModel(&env_, path));
  ASSERT_OK_AND_ASSIGN(const auto source, OpenModelWeights(&env_, path));
  ExportOptions options;
  options.format = "gguf";
  options.gguf = {GgufArchitecture::kBitnet, GgufType::kTQ1_0, GgufType::kF32};
  ASSERT_OK(ExportWeights(&env_, source.get(), "/m.gguf", options).status());
  ASSERT_OK_AND_ASSIGN(const auto got, OpenModel(&env_, "/m.gguf"));
  ExpectSame(want.get(), got.get());
  EXPECT_EQ(got->file_bytes(), *env_.FileSize("/m.gguf"));
}

TEST_F(OpenModelTest, GoesByContentAndNotByName) {
  Export(SmallModel(Family::kTritter), "/m.tpack", "tpack");
  ASSERT_OK(WriteFileAtomically(&env_, "/model.bin", *env_.ReadFile("/m.tpack")));
  EXPECT_OK(OpenModel(&env_, "/model.bin"));
}

TEST_F(OpenModelTest, TensorsLiveAsLongAsTheModel) {
  ASSERT_OK_AND_ASSIGN(const auto model,
                       OpenModel(&env_, Export(SmallModel(Family::kTritter), "/hf", "hf")));
  ASSERT_OK_AND_ASSIGN(const TpackTensor first, model->Get("layers.0.attn.q.weight"));
  const std::vector<uint8_t> bytes(first.data.begin(), first.data.end());
  EXPECT_OK(model->VerifyAll());
  ASSERT_OK_AND_ASSIGN(const TpackTensor again, model->Get("layers.0.attn.q.weight"));
  EXPECT_EQ(again.data.data(), first.data.data());
  EXPECT_EQ(std::vector<uint8_t>(first.data.begin(), first.data.end()), bytes);
  EXPECT_THAT(model->Get("layers.9.attn.q.weight"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("layers.9.attn.q.weight")));
}

TEST_F(OpenModelTest, SaysWhatIsNoModel) {
  EXPECT_THAT(OpenModel(&env_, "/none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
  ASSERT_OK(WriteFileAtomically(&env_, "/text.txt", "once upon a time"));
  EXPECT_THAT(OpenModel(&env_, "/text.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'once upo', expected")));
  ASSERT_OK(WriteFileAtomically(&env_, "/m.tpack", "once upon a time"));
  EXPECT_THAT(OpenModel(&env_, "/m.tpack"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("/m.tpack: offset 0")));
  ModelConfig config = SmallModel(Family::kTritter);
  config.norm = NormKind::kLayerNorm;
  EXPECT_THAT(OpenModel(&env_, Export(config, "/n.safetensors", "safetensors")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::AllOf(HasSubstr("/n.safetensors"), HasSubstr("layernorm"))));
}

// A packed model read as weights: the codes as they are, and weights that quantise to them.
TEST_F(OpenModelTest, WeightsOfATpackAreItsCodes) {
  for (const Family family : {Family::kTritter, Family::kBitnet, Family::kLlama}) {
    const std::string path = Export(SmallModel(family), "/m.tpack", "tpack");
    ASSERT_OK_AND_ASSIGN(const auto source, OpenModelWeights(&env_, path));
    ASSERT_OK(ExportWeights(&env_, source.get(), "/again.tpack", {}).status());
    EXPECT_EQ(*env_.ReadFile("/again.tpack"), *env_.ReadFile(path));
    ExportOptions masters;
    masters.format = "safetensors";
    ASSERT_OK(ExportWeights(&env_, source.get(), "/m.safetensors", masters).status());
    ASSERT_OK_AND_ASSIGN(const auto want, OpenModel(&env_, path));
    ASSERT_OK_AND_ASSIGN(const auto got, OpenModel(&env_, "/m.safetensors"));
    ExpectSame(want.get(), got.get());
  }
}

TEST(PlainValues, AreThoseOfTheType) {
  const uint8_t halves[] = {0x80, 0x3F, 0x00, 0xC0};
  const int8_t bytes[] = {1, -2, 127, -128};
  const float scales[] = {0.5f, 2.0f};
  std::vector<float> buffer;
  EXPECT_EQ(PlainValues({"x", {2}, TpackType::kBF16, halves, {}}, &buffer),
            (std::vector<float>{1, -2}));
  EXPECT_EQ(
      PlainValues(
          {"x", {2, 2}, TpackType::kRowInt8, {reinterpret_cast<const uint8_t*>(bytes), 4}, scales},
          &buffer),
      (std::vector<float>{0.5, -1, 254, -256}));
}

}  // namespace
}  // namespace tritter
