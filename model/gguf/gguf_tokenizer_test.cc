#include "model/gguf/gguf_tokenizer.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "common/testing/memory_env.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/bpe_tokenizer.h"
#include "model/text/testing/bpe_test_tokenizer.h"

namespace tritter {
namespace {

using ::nlohmann::json;
using ::testing::HasSubstr;

constexpr int32_t kEnd = 266, kTool = 267;
constexpr int64_t kVocab = 300;

// A tokenizer that begins a text with <|end|>, and what stands beside it.
TokenizerFiles Files() {
  json root = BpeTestTokenizer();
  root["post_processor"] = json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [266], "tokens": ["<|end|>"]}}})");
  return {root.dump(2), R"({"bos_token": "<|end|>", "eos_token": {"content": "<|end|>"}})",
          R"({"eos_token_id": [267]})", "{{ messages }}"};
}

class GgufTokenizerTest : public ::testing::Test {
 protected:
  absl::StatusOr<TokenizerFiles> Read(const GgufMetadata& metadata) {
    EXPECT_OK(WriteGguf(&env_, "/t.gguf", metadata, {}));
    auto file = GgufFile::Open(&env_, "/t.gguf");
    EXPECT_OK(file.status());
    return TokenizerOfGguf(**file);
  }
  static std::shared_ptr<const Tokenizer> Made(const TokenizerFiles& files) {
    const auto definition = ParseTokenizerJson(files.definition, "t");
    EXPECT_OK(definition.status());
    auto tokenizer = NewBpeTokenizer(*definition, NamesOf(files, *definition, "t")->end_ids);
    EXPECT_OK(tokenizer.status());
    return *tokenizer;
  }
  MemoryEnv env_;
};

TEST_F(GgufTokenizerTest, OursComesBackWhole) {
  GgufMetadata metadata;
  ASSERT_OK_AND_ASSIGN(const std::string lost, AddTokenizer(Files(), kVocab, &metadata));
  EXPECT_EQ(lost, "");
  ASSERT_OK_AND_ASSIGN(const TokenizerFiles back, Read(metadata));
  EXPECT_EQ(back.definition, Files().definition);
  EXPECT_EQ(back.chat_template, Files().chat_template);
  ASSERT_OK_AND_ASSIGN(const auto definition, ParseTokenizerJson(back.definition, "t"));
  ASSERT_OK_AND_ASSIGN(const TokenizerNames names, NamesOf(back, definition, "t"));
  EXPECT_EQ(names.bos_token, "<|end|>");
  EXPECT_EQ(names.eos_token, "<|end|>");
  EXPECT_EQ(Made(back)->end_ids(), (std::vector<int32_t>{kEnd, kTool}));
}

TEST_F(GgufTokenizerTest, HasTheKeysThatOtherProgramsRead) {
  GgufMetadata metadata;
  ASSERT_OK(AddTokenizer(Files(), kVocab, &metadata).status());
  ASSERT_OK(WriteGguf(&env_, "/t.gguf", metadata, {}));
  ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(&env_, "/t.gguf"));
  EXPECT_EQ(*file->Text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(*file->Text("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(*file->Integer("tokenizer.ggml.bos_token_id"), kEnd);
  EXPECT_EQ(*file->Integer("tokenizer.ggml.eos_token_id"), kEnd);
  EXPECT_TRUE(*file->Boolean("tokenizer.ggml.add_bos_token"));
  EXPECT_FALSE(*file->Boolean("tokenizer.ggml.add_eos_token"));
  ASSERT_OK_AND_ASSIGN(const auto tokens, file->Texts("tokenizer.ggml.tokens"));
  ASSERT_OK_AND_ASSIGN(const auto types, file->Integers("tokenizer.ggml.token_type"));
  ASSERT_EQ(tokens.size(), static_cast<size_t>(kVocab));
  ASSERT_EQ(types.size(), tokens.size());
  EXPECT_EQ(tokens[kEnd], "<|end|>");
  EXPECT_EQ(types[kEnd], 3);
  EXPECT_EQ(types[kTool], 4);
  EXPECT_EQ(types['h'], 1);
  EXPECT_EQ(tokens[299], "<unused299>");
  EXPECT_EQ(types[299], 5);
}

// As another program writes it: no whole tokenizer.json, no keys of ours.
class OfOthers : public GgufTokenizerTest {
 protected:
  GgufMetadata Keys(const std::string& model, const std::string& pre,
                    const std::function<void(std::vector<std::string>*)>& change = nullptr) {
    const json root = BpeTestTokenizer();
    std::vector<std::string> tokens(kVocab), merges;
    std::vector<int32_t> types(kVocab, 1);
    for (const auto& [token, id] : root["model"]["vocab"].items()) tokens[id] = token;
    for (const json& merge : root["model"]["merges"])
      merges.push_back(merge.is_string()
                           ? merge.get<std::string>()
                           : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    tokens[kEnd] = "<|end|>", types[kEnd] = 3;
    tokens[kTool] = "<tool>", types[kTool] = 4;
    for (int64_t id = kTool + 1; id < kVocab; ++id) types[id] = 5;
    if (change) change(&tokens);
    GgufMetadata out;
    out.Text("tokenizer.ggml.model", model);
    if (!pre.empty()) out.Text("tokenizer.ggml.pre", pre);
    out.Texts("tokenizer.ggml.tokens", tokens);
    out.I32s("tokenizer.ggml.token_type", types);
    out.Texts("tokenizer.ggml.merges", merges);
    out.U32("tokenizer.ggml.bos_token_id", kEnd);
    out.U32("tokenizer.ggml.eot_token_id", kTool);
    return out;
  }
};

TEST_F(OfOthers, GivesTheIdsOfTheSameTokenizerJson) {
  ASSERT_OK_AND_ASSIGN(const TokenizerFiles files, Read(Keys("gpt2", "gpt-2")));
  const auto got = Made(files), want = Made({BpeTestTokenizer().dump(), "", "", ""});
  for (const char* text : {"", "hello, the world", " 123 it's\n\n <|end|> and <tool>!",
                           "\xff Gr\xc3\xbc\xc3\x9f"
                           "e"}) {
    EXPECT_EQ(*got->Encode(text), *want->Encode(text)) << text;
  }
  EXPECT_EQ(got->end_ids(), (std::vector<int32_t>{kEnd, kTool}));
  EXPECT_EQ(json::parse(files.config)["bos_token"], "<|end|>");
}

TEST_F(OfOthers, PreTokenizersCutAsTheirNameSays) {
  const auto prefix_of = [&](const std::string& pre) {
    const auto files = Read(Keys("gpt2", pre));
    EXPECT_OK(files.status());
    return *ParseTokenizerJson(files->definition, "t");
  };
  EXPECT_EQ(prefix_of("llama-bpe").prefix, (std::vector<int32_t>{kEnd}));
  EXPECT_TRUE(prefix_of("llama-bpe").ignore_merges);
  EXPECT_TRUE(prefix_of("falcon3").ignore_merges);
  EXPECT_TRUE(prefix_of("gpt-2").prefix.empty());
  EXPECT_TRUE(prefix_of("qwen2").nfc);
  EXPECT_EQ(prefix_of("smollm").steps.size(), 2u);
  for (const char* pre : {"gpt-2", "llama-bpe", "dbrx", "qwen2", "smollm"}) {
    const auto files = Read(Keys("gpt2", pre));
    GgufMetadata again;  // the name comes back
    ASSERT_OK(AddTokenizer(*files, kVocab, &again).status());
    ASSERT_OK(WriteGguf(&env_, "/again.gguf", again, {}));
    EXPECT_EQ(*(*GgufFile::Open(&env_, "/again.gguf"))->Text("tokenizer.ggml.pre"), pre);
  }
}

TEST_F(OfOthers, WhatIsNoByteLevelBpeIsRefusedWithWhatToDo) {
  constexpr auto kNot = absl::StatusCode::kUnimplemented;
  EXPECT_THAT(Read(Keys("llama", "")).status(),
              StatusIs(kNot, AllOf(HasSubstr("/t.gguf: metadata `tokenizer.ggml.model` is llama"),
                                   HasSubstr("SentencePiece"))));
  EXPECT_THAT(Read(Keys("bert", "")).status(), StatusIs(kNot, HasSubstr("is bert")));
  EXPECT_THAT(
      Read(Keys("gpt2", "tekken")).status(),
      StatusIs(kNot, AllOf(HasSubstr("`tokenizer.ggml.pre` is tekken"), HasSubstr("llama-bpe"))));
  EXPECT_THAT(Read(Keys("gpt2", "")).status(), StatusIs(kNot, HasSubstr("is missing")));
  EXPECT_THAT(Read(GgufMetadata()).status(), StatusIs(kNot, HasSubstr("is missing")));
}

TEST_F(OfOthers, DamageSaysWhere) {
  constexpr auto kData = absl::StatusCode::kDataLoss;
  GgufMetadata number = Keys("gpt2", "");
  number.U32("tokenizer.ggml.pre", 7);
  EXPECT_FALSE(Read(number).ok()) << "the name of a pre-tokenizer is no number";
  EXPECT_THAT(Read(Keys("gpt2", "gpt-2", [](auto* t) { t->pop_back(); })).status(),
              StatusIs(kData, HasSubstr("`tokenizer.ggml.token_type` has 300 values")));
  EXPECT_THAT(Read(Keys("gpt2", "gpt-2", [](auto* t) { (*t)[5] = "\xff"; })).status(),
              StatusIs(kData, HasSubstr("[5] is not UTF-8")));
  EXPECT_THAT(Read(Keys("gpt2", "gpt-2", [](auto* t) { (*t)[5] = (*t)[6]; })).status(),
              StatusIs(kData, HasSubstr("a second time")));
  GgufMetadata keys = Keys("gpt2", "gpt-2");
  keys.U32("tokenizer.ggml.eos_token_id", 300);
  EXPECT_THAT(Read(keys).status(), StatusIs(kData, HasSubstr("eos_token_id` is 300")));
}

TEST_F(GgufTokenizerTest, WhatDoesNotFitIsSaid) {
  GgufMetadata metadata;
  EXPECT_THAT(AddTokenizer(Files(), 266, &metadata).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the id 266 (<|end|>)")));
  TokenizerFiles other = Files();
  json root = json::parse(other.definition);
  root["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  other.definition = root.dump();
  GgufMetadata own;
  ASSERT_OK_AND_ASSIGN(const std::string lost, AddTokenizer(other, kVocab, &own));
  EXPECT_THAT(lost, HasSubstr("no name in llama.cpp"));
  ASSERT_OK_AND_ASSIGN(const TokenizerFiles back, Read(own));
  EXPECT_EQ(back.definition, other.definition);
}

}  // namespace
}  // namespace tritter
