#include "model/text/open_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/sha256.h"
#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "model/hf_text.h"
#include "model/text/testing/bpe_test_tokenizer.h"

namespace tritter {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

constexpr int32_t kEnd = 266, kTool = 267;

class OpenTokenizerTest : public testing::Test {
 protected:
  void SetUp() override { EXPECT_OK(env_.CreateDirs("/m")); }
  void Write(const std::string& path, const std::string& text) {
    EXPECT_OK(WriteFileAtomically(&env_, path, text));
  }
  MemoryEnv env_;
  const std::string text_ = BpeTestTokenizer().dump(2), hash_ = HashOfTokenizerJson(text_);
};

TEST_F(OpenTokenizerTest, TheByteTokenizerNeedsNoFile) {
  ASSERT_OK_AND_ASSIGN(const OpenedTokenizer opened,
                       OpenTokenizer(&env_, "/m/a.tpack", ByteTokenizer().hash()));
  EXPECT_EQ(opened.tokenizer.get(), &ByteTokenizer());
  EXPECT_EQ(opened.path, "");
}

TEST_F(OpenTokenizerTest, AnExportedByteTokenizerIsTheByteTokenizer) {
  EXPECT_EQ(HashOfTokenizerJson(HfByteTokenizerJson()), ByteTokenizer().hash());
  const std::string anew = json::parse(HfByteTokenizerJson()).dump();  // other spaces, other order
  EXPECT_EQ(HashOfTokenizerJson(anew), ByteTokenizer().hash());
  Write("/m/tokenizer.json", anew);
  ASSERT_OK_AND_ASSIGN(
      const OpenedTokenizer opened,
      OpenTokenizer(&env_, "/m/a.tpack", ByteTokenizer().hash(), "/m/tokenizer.json"));
  EXPECT_EQ(opened.tokenizer.get(), &ByteTokenizer());
}

TEST_F(OpenTokenizerTest, AFolderWithTheByteTokenizerMayHaveAChatTemplate) {
  Write("/m/tokenizer_config.json", "{\"chat_template\": \"x\", \"bos_token\": \"<bos>\"}");
  ASSERT_OK_AND_ASSIGN(const OpenedTokenizer folder,
                       OpenTokenizer(&env_, "/m", ByteTokenizer().hash()));
  EXPECT_EQ(folder.chat_template, "x");
  EXPECT_EQ(folder.bos_token, "<bos>");
  ASSERT_OK_AND_ASSIGN(const OpenedTokenizer file,
                       OpenTokenizer(&env_, "/m/a.tpack", ByteTokenizer().hash()));
  EXPECT_EQ(file.chat_template, "") << "whose the files beside it are is not known";
}

TEST_F(OpenTokenizerTest, IsFoundByHashBesideTheModel) {
  json other = BpeTestTokenizer();
  other["model"]["ignore_merges"] = true;
  Write("/m/a.tokenizer.json", other.dump());
  Write("/m/tokenizer.json", text_);
  ASSERT_OK_AND_ASSIGN(OpenedTokenizer opened, OpenTokenizer(&env_, "/m/a.tpack", hash_));
  EXPECT_EQ(opened.path, "/m/tokenizer.json");
  EXPECT_EQ(opened.tokenizer->hash(), hash_);
  ASSERT_OK_AND_ASSIGN(opened,
                       OpenTokenizer(&env_, "/m/a.tpack", HashOfTokenizerJson(other.dump())));
  EXPECT_EQ(opened.path, "/m/a.tokenizer.json");
  ASSERT_OK_AND_ASSIGN(opened, OpenTokenizer(&env_, "/m", hash_));  // a Hugging Face folder
  EXPECT_EQ(opened.path, "/m/tokenizer.json");
  ASSERT_OK_AND_ASSIGN(opened, OpenTokenizer(&env_, "/x/b.tpack", hash_, "/m"));
  EXPECT_EQ(opened.path, "/m/tokenizer.json");
}

TEST_F(OpenTokenizerTest, AnotherTokenizerIsRefusedNamingBoth) {
  Write("/m/tokenizer.json", text_);
  const std::string wanted(64, 'a');
  EXPECT_THAT(
      OpenTokenizer(&env_, "/m/a.tpack", wanted),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("/m/a.tpack: expected the tokenizer " + wanted),
                     HasSubstr("/m/a.tokenizer.json: missing"),
                     HasSubstr("/m/tokenizer.json: has " + hash_), HasSubstr("--tokenizer"))));
  // The byte tokenizer's model is not served with a foreign one, asked for or not.
  EXPECT_THAT(OpenTokenizer(&env_, "/m/a.tpack", ByteTokenizer().hash(), "/m/tokenizer.json"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has " + hash_)));
}

TEST_F(OpenTokenizerTest, WhatIsNotSupportedSaysWhy) {
  const std::string text = R"({"version": "1.0", "model": {"type": "Unigram"}})";
  Write("/m/tokenizer.json", text);
  EXPECT_EQ(HashOfTokenizerJson(text), Sha256Hex(text));
  EXPECT_THAT(OpenTokenizer(&env_, "/m/a.tpack", Sha256Hex(text)),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("/m/tokenizer.json: $.model.type: \"Unigram\"")));
  EXPECT_THAT(OpenTokenizer(&env_, "/m/a.tpack", hash_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("\"Unigram\"")));
}

TEST_F(OpenTokenizerTest, EndsOfATextComeFromTheFilesBeside) {
  const auto ends = [&] {
    const auto opened = OpenTokenizer(&env_, "/m", hash_);
    EXPECT_OK(opened);
    return opened->tokenizer->end_ids();
  };
  Write("/m/tokenizer.json", text_);
  EXPECT_EQ(ends(), (std::vector<int32_t>{kEnd}));  // by its name
  Write("/m/config.json", R"({"eos_token_id": 7})");
  EXPECT_EQ(ends(), (std::vector<int32_t>{7}));
  Write("/m/generation_config.json", R"({"eos_token_id": [9, 8]})");
  EXPECT_EQ(ends(), (std::vector<int32_t>{8, 9}));
  Write("/m/tokenizer_config.json", R"({"eos_token": {"content": "<tool>"}})");
  EXPECT_EQ(ends(), (std::vector<int32_t>{8, 9, kTool}));
  Write("/m/generation_config.json", R"({"eos_token_id": 9999})");
  EXPECT_THAT(OpenTokenizer(&env_, "/m", hash_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("id 9999")));
}

TEST_F(OpenTokenizerTest, GivesTheChatTemplate) {
  Write("/m/tokenizer.json", text_);
  ASSERT_OK_AND_ASSIGN(OpenedTokenizer opened, OpenTokenizer(&env_, "/m", hash_));
  EXPECT_EQ(opened.chat_template, "");
  Write("/m/tokenizer_config.json",
        R"({"chat_template": "A", "bos_token": "<s>", "eos_token": {"content": "<|end|>"}})");
  ASSERT_OK_AND_ASSIGN(opened, OpenTokenizer(&env_, "/m", hash_));
  EXPECT_EQ(opened.chat_template, "A");
  EXPECT_EQ(opened.bos_token, "<s>");
  EXPECT_EQ(opened.eos_token, "<|end|>");
  Write("/m/tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "T"},
                              {"name": "default", "template": "D"}]})");
  ASSERT_OK_AND_ASSIGN(opened, OpenTokenizer(&env_, "/m", hash_));
  EXPECT_EQ(opened.chat_template, "D");
  Write("/m/chat_template.jinja", "J");
  ASSERT_OK_AND_ASSIGN(opened, OpenTokenizer(&env_, "/m", hash_));
  EXPECT_EQ(opened.chat_template, "J");
}

}  // namespace
}  // namespace tritter
