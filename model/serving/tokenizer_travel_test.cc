// A tokenizer goes with its model from one container to the next, and serves there.
#include <nlohmann/json.hpp>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/export.h"
#include "model/serving/open_model.h"
#include "model/testing/random_weights.h"
#include "model/text/open_tokenizer.h"
#include "model/text/testing/bpe_test_tokenizer.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kEnd = 266, kTool = 267;

class Foreign : public RandomWeights {
 public:
  Foreign(const ModelConfig& config, const std::string& hash)
      : RandomWeights(config, 3), origin_(RandomWeights::origin()) {
    origin_.tokenizer_hash = hash;
  }
  const WeightOrigin& origin() const override { return origin_; }

 private:
  WeightOrigin origin_;
};

class TokenizerTravelTest : public ::testing::Test {
 protected:
  TokenizerTravelTest() {
    ApplyFamilyDefaults(Family::kLlama, &config_);
    config_.hidden = config_.ffn = 64;
    config_.layers = 1;
    config_.heads = config_.kv_heads = 2;
    config_.head_dim = 32;
    config_.vocab = 272;
    config_.context = 64;
    files_ = {BpeTestTokenizer().dump(2), R"({"bos_token": "<|end|>", "eos_token": "<|end|>"})",
              R"({"eos_token_id": 267})", "{{ messages }}"};
    hash_ = HashOfTokenizerJson(files_.definition);
  }

  void Write(WeightSource* source, const std::string& path, const std::string& format,
             const TokenizerFiles& files) {
    ExportOptions options;
    options.format = format;
    options.gguf.matrices = options.gguf.embeddings = GgufType::kF32;
    options.tokenizer = std::make_shared<const TokenizerFiles>(files);
    ASSERT_OK_AND_ASSIGN(const ExportResult result, ExportWeights(&env_, source, path, options));
    EXPECT_THAT(result.losses, ::testing::Not(::testing::Contains(HasSubstr("tokenizer"))));
  }
  void ExpectServes(const std::string& path) {
    SCOPED_TRACE(path);
    ASSERT_OK_AND_ASSIGN(const auto model, OpenModel(&env_, path));
    EXPECT_EQ(model->tokenizer_hash(), hash_);
    ASSERT_OK_AND_ASSIGN(const OpenedTokenizer opened, OpenTokenizer(&env_, path, hash_));
    EXPECT_EQ(opened.tokenizer->hash(), hash_);
    EXPECT_EQ(opened.tokenizer->end_ids(), (std::vector<int32_t>{kEnd, kTool}));
    EXPECT_EQ(opened.chat_template, "{{ messages }}");
    EXPECT_EQ(opened.bos_token, "<|end|>");
  }

  MemoryEnv env_;
  ModelConfig config_;
  TokenizerFiles files_;
  std::string hash_;
};

TEST_F(TokenizerTravelTest, ThroughEveryContainerAndBack) {
  Foreign weights(config_, hash_);
  Write(&weights, "/a/hf", "hf", files_);
  ExpectServes("/a/hf");
  std::string from = "/a/hf";
  for (const auto& [path, format] : {std::pair{"/b/m.tpack", "tpack"},
                                     {"/c/m.gguf", "gguf"},
                                     {"/d/n.tpack", "tpack"},
                                     {"/e/hf", "hf"}}) {
    ASSERT_OK_AND_ASSIGN(const auto source, OpenModelWeights(&env_, from));
    ASSERT_OK_AND_ASSIGN(const FoundTokenizer found, FindTokenizer(&env_, from, hash_));
    Write(source.get(), path, format, found.files);
    ExpectServes(path);
    from = path;
  }
  EXPECT_EQ(*env_.ReadFile("/e/hf/tokenizer.json"), files_.definition);
  EXPECT_EQ(*env_.ReadFile("/e/hf/chat_template.jinja"), files_.chat_template);
  EXPECT_EQ(*env_.ReadFile("/b/m.generation_config.json"), files_.generation);
  EXPECT_EQ(*env_.ReadFile("/b/m.tokenizer_config.json"), files_.config);
}

TEST_F(TokenizerTravelTest, NothingOfAnOlderModelOfTheNameStays) {
  Foreign weights(config_, hash_);
  Write(&weights, "/b/m.tpack", "tpack", files_);
  Write(&weights, "/b/m.tpack", "tpack", {files_.definition, "", "", ""});
  EXPECT_FALSE(env_.Exists("/b/m.tokenizer_config.json"));
  EXPECT_FALSE(env_.Exists("/b/m.chat_template.jinja"));
}

TEST_F(TokenizerTravelTest, TheEndsThatOnlyConfigJsonNamesTravelToo) {
  ASSERT_OK(env_.CreateDirs("/hf"));
  ASSERT_OK(WriteFileAtomically(&env_, "/hf/tokenizer.json", files_.definition));
  ASSERT_OK(WriteFileAtomically(&env_, "/hf/config.json", R"({"eos_token_id": 7})"));
  ASSERT_OK_AND_ASSIGN(const TokenizerFiles files, ReadTokenizerFiles(&env_, "/hf/tokenizer.json"));
  EXPECT_EQ(nlohmann::json::parse(files.generation)["eos_token_id"], std::vector<int>{7});
}

TEST_F(TokenizerTravelTest, AnotherTokenizerIsRefusedAndAMissingOneIsSaid) {
  Foreign weights(config_, std::string(64, 'f'));
  ExportOptions options;
  options.tokenizer = std::make_shared<const TokenizerFiles>(files_);
  EXPECT_THAT(ExportWeights(&env_, &weights, "/m.tpack", options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the tokenizer is " + hash_ + ", expected that of the weights")));
  options.tokenizer = nullptr;
  ASSERT_OK_AND_ASSIGN(const ExportResult result,
                       ExportWeights(&env_, &weights, "/m.tpack", options));
  EXPECT_THAT(result.losses, ::testing::ElementsAre(HasSubstr("the tokenizer is not in it")));
}

}  // namespace
}  // namespace tritter
