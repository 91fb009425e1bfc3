#include "tests/testing/random_model.h"

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/engine.h"
#include "model/serving/open_model.h"

namespace tritter {
namespace {

ModelConfig Small(Family family) {
  ModelConfig c;
  ApplyFamilyDefaults(family, &c);
  c.hidden = 256;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 64;
  c.ffn = 512;
  c.vocab = 300;
  c.context = 64;
  return c;
}

struct Form {
  const char* name;
  ExportOptions options;
};

std::vector<Form> FormsOf(Family family) {
  std::vector<Form> forms;
  for (const char* format : {"tpack", "hf", "safetensors"}) {
    forms.push_back({format, {}});
    forms.back().options.format = format;
  }
  if (family == Family::kTritter) return forms;  // has no architecture in GGUF
  const std::vector<GgufArchitecture> bitnet = {GgufArchitecture::kBitnet,
                                                GgufArchitecture::kBitnetB158},
                                      llama = {GgufArchitecture::kLlama};
  for (const GgufArchitecture architecture : family == Family::kLlama ? llama : bitnet) {
    for (const GgufType type :
         {GgufType::kTQ1_0, GgufType::kTQ2_0, GgufType::kF16, GgufType::kBF16, GgufType::kF32}) {
      for (const GgufType embeddings : {GgufType::kF32, GgufType::kF16, GgufType::kBF16}) {
        forms.push_back({InfoOf(type).name, {}});
        forms.back().options.format = "gguf";
        forms.back().options.gguf = {architecture, type, embeddings};
      }
    }
  }
  return forms;
}

std::string Extension(const std::string& format) {
  return format == "safetensors" ? "/m.safetensors" : "/m." + format;
}

TEST(RandomModel, EveryFormHoldsTheVerySameWeights) {
  for (const Family family : {Family::kTritter, Family::kBitnet, Family::kLlama}) {
    const ModelConfig config = Small(family);
    MemoryEnv env;
    ASSERT_OK(WriteRandomModel(&env, "/want.tpack", config, 7));
    ASSERT_OK_AND_ASSIGN(const auto want, OpenModel(&env, "/want.tpack"));
    for (const Form& form : FormsOf(family)) {
      SCOPED_TRACE(form.name);
      const std::string path = Extension(form.options.format);
      ASSERT_OK(env.RemoveTree(path));
      ASSERT_OK_AND_ASSIGN(const ExportResult result,
                           WriteRandomModel(&env, path, config, 7, form.options));
      for (const std::string& loss : result.losses)
        EXPECT_EQ(loss.find("rounded"), std::string::npos) << loss;
      ASSERT_OK_AND_ASSIGN(const auto got, OpenModel(&env, result.path));
      for (const std::string& name : want->names()) {
        ASSERT_OK_AND_ASSIGN(const TpackTensor w, want->Get(name));
        ASSERT_OK_AND_ASSIGN(const TpackTensor g, got->Get(name));
        EXPECT_EQ(g.data, w.data) << name;
        EXPECT_EQ(g.scales, w.scales) << name;
      }
    }
  }
}

std::vector<int32_t> Greedy(std::unique_ptr<PackedModelFile> file) {
  auto engine = Engine::Create(std::move(file), {});
  EXPECT_OK(engine.status());
  GenerateParams params;
  params.prompt = {9, 80, 200, 33};
  params.max_tokens = 12;
  params.ignore_eos = true;
  auto generation = (*engine)->Generate(params);
  EXPECT_OK(generation.status());
  std::vector<int32_t> tokens;
  GenerateEvent event;
  while (event.finish == FinishReason::kNone) {
    if (!(*generation)->Next(absl::InfiniteDuration(), &event)) continue;
    tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
  }
  return tokens;
}

TEST(RandomModel, TheEngineSaysTheSameFromEveryForm) {
  for (const Family family : {Family::kTritter, Family::kBitnet, Family::kLlama}) {
    MemoryEnv env;
    ASSERT_OK(WriteRandomModel(&env, "/want.tpack", Small(family), 7));
    ASSERT_OK_AND_ASSIGN(auto file, OpenModel(&env, "/want.tpack"));
    const std::vector<int32_t> want = Greedy(std::move(file));
    EXPECT_EQ(want.size(), 12u);
    for (const Form& form : FormsOf(family)) {
      const std::string path = Extension(form.options.format);
      ASSERT_OK(env.RemoveTree(path));
      ASSERT_OK(WriteRandomModel(&env, path, Small(family), 7, form.options));
      ASSERT_OK_AND_ASSIGN(auto other, OpenModel(&env, path));
      EXPECT_EQ(Greedy(std::move(other)), want) << form.name;
    }
  }
}

TEST(RandomModelPreset, HasTheShapesOfTheBenchmarks) {
  ASSERT_OK_AND_ASSIGN(ModelConfig config, RandomModelPreset("1.1B"));
  EXPECT_OK(ValidateConfig(config));
  EXPECT_NEAR(static_cast<double>(ParameterCount(config)), 1.1e9, 0.01e9);
  ApplyFamilyDefaults(Family::kBitnet, &config);
  EXPECT_OK(
      CheckGgufExpressible(config, {GgufArchitecture::kBitnet, GgufType::kTQ2_0, GgufType::kF16}));
  ASSERT_OK_AND_ASSIGN(config, RandomModelPreset("bitnet-2B"));
  EXPECT_EQ(config.vocab, 128256);
  EXPECT_OK(CheckGgufExpressible(config, {}));
  EXPECT_THAT(RandomModelPreset("2.2B"), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace tritter
