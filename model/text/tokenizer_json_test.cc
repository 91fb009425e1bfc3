#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "model/text/bpe_tokenizer.h"
#include "model/text/testing/bpe_test_tokenizer.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {
namespace {

using nlohmann::json;
using testing::HasSubstr;

absl::Status Parse(const json& root) { return ParseTokenizerJson(root.dump(), "t.json").status(); }

TEST(TokenizerJson, RefusesByPath) {
  struct Case {
    const char* patch;  // JSON merge patch
    const char* message;
  };
  const Case cases[] = {
      {R"({"model": {"type": "Unigram"}})", "t.json: $.model.type: \"Unigram\" is not supported"},
      {R"({"model": {"byte_fallback": true}})", "$.model.byte_fallback: true is not supported"},
      {R"({"model": {"dropout": 0.1}})", "$.model.dropout: 0.1 is not supported"},
      {R"({"model": {"end_of_word_suffix": "</w>"}})", "$.model.end_of_word_suffix"},
      {R"({"model": {"unk_token": "<unk>"}})", "$.model.unk_token: is \"<unk>\", expected a token"},
      {R"({"model": {"new": 1}})", "$.model: key `new` is not supported"},
      {R"({"model": {"merges": null}})", "`merges` is missing"},
      {R"({"model": {"merges": ["h e l"]}})", "$.model.merges[0]: is \"h e l\", expected two"},
      {R"({"model": {"merges": [["h", "xx"]]}})", "$.model.merges[0]"},
      {R"({"model": {"merges": [["h"]]}})", "$.model.merges[0]"},
      {R"({"model": {"vocab": {"h": -1}}})", "$.model.vocab[\"h\"]: is -1, expected an id"},
      {R"({"model": {"vocab": {"h": 1e3}}})", "$.model.vocab[\"h\"]"},
      {R"({"model": {"vocab": {"h": 4194304}}})", "expected an id from 0 to 4194303"},
      {R"({"model": {"vocab": {"h": 5}}})", "have the same id 5"},
      {R"({"model": {"vocab": []}})", "$.model.vocab: is [], expected an object"},
      {R"({"normalizer": {"type": "Lowercase"}})", "$.normalizer.type: \"Lowercase\" is not"},
      {R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}]}})",
       "$.normalizer.normalizers[0].type: \"NFD\""},
      {R"({"pre_tokenizer": null})", "$.pre_tokenizer: has no ByteLevel"},
      {R"({"pre_tokenizer": {"type": "Metaspace"}})", "$.pre_tokenizer.type: \"Metaspace\""},
      {R"({"pre_tokenizer": {"type": "Digits", "add_prefix_space": null}})", "has no ByteLevel"},
      {R"({"pre_tokenizer": {"type": "Sequence", "add_prefix_space": null, "pretokenizers":
           [{"type": "ByteLevel"}, {"type": "Digits"}]}})",
       "pretokenizers[1]: Digits behind ByteLevel"},
      {R"({"decoder": {"type": "Metaspace"}})", "$.decoder.type: \"Metaspace\""},
      {R"({"decoder": null})", "$.decoder: has no ByteLevel"},
      {R"({"post_processor": {"type": "BertProcessing"}})", "$.post_processor.type"},
      {R"({"added_tokens": [{"id": 5, "content": "<x>"}]})", "$.added_tokens[0].id: is 5"},
      {R"({"added_tokens": [{"id": 900, "content": ""}]})", "$.added_tokens[0].content"},
      {R"({"added_tokens": [{"id": 9, "content": "h"}]})", "expected 104, the id that"},
      {R"({"added_tokens": [{"content": "<x>"}]})", "`id` is missing"},
      {R"({"added_tokens": [{"id": 900, "content": "<x>"}, {"id": 901, "content": "<x>"}]})",
       "$.added_tokens[1].content"},
      {R"({"version": "2.0"})", "$.version: \"2.0\" is not supported"},
      {R"({"other": 1})", "$: key `other` is not supported"},
      {R"({"model": null})", "`model` is missing"},
  };
  for (const Case& c : cases) {
    json root = BpeTestTokenizer();
    root.merge_patch(json::parse(c.patch));
    const absl::Status status = Parse(root);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.patch;
    EXPECT_FALSE(status.ok()) << c.patch;
  }
}

TEST(TokenizerJson, RefusesWhatIsNotStrictJson) {
  for (const std::string text : {"", "{", "[]", "null", "{} x", "{\"model\": {}, \"model\": {}}",
                                 "\xFF", "{\"version\": 1.0}"}) {
    EXPECT_FALSE(ParseTokenizerJson(text, "t.json").ok()) << text;
  }
  EXPECT_THAT(ParseTokenizerJson(std::string(100'000, '[') + std::string(100'000, ']'), "t.json"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("nested deeper")));
}

TEST(TokenizerJson, TheHashIsOfWhatDeterminesIds) {
  json root = BpeTestTokenizer();
  const auto hash = [](const json& r) {
    const auto definition = ParseTokenizerJson(r.dump(), "t.json");
    EXPECT_OK(definition);
    return TokenizerDefinitionHash(*definition);
  };
  const std::string first = hash(root);
  EXPECT_EQ(first, "542760f745dfd84795e61726ace93b4d9bc3e7584099b0b899c8f2e524133c03");
  json same = root;  // merges as texts, other offsets, other lengths
  for (json& merge : same["model"]["merges"])
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  same["post_processor"] = {{"type", "ByteLevel"}, {"trim_offsets", true}};
  same["truncation"] = {{"max_length", 5}};
  EXPECT_EQ(hash(same), first);
  for (const char* patch :
       {R"({"model": {"ignore_merges": true}})", R"({"normalizer": {"type": "NFC"}})",
        R"({"pre_tokenizer": {"use_regex": false}})", R"({"added_tokens": []})",
        R"({"model": {"vocab": {"zz": 400}}})", R"({"model": {"merges": [["h", "e"]]}})"}) {
    json other = root;
    other.merge_patch(json::parse(patch));
    EXPECT_NE(hash(other), first) << patch;
  }
}

// Whatever a damaged file still says, reading it ends with a status or with a tokenizer that works.
TEST(TokenizerJson, DamageGivesAStatus) {
  const std::string whole = BpeTestTokenizer().dump();
  Philox random(11);
  int read = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    for (uint64_t n = 1 + random.Below(3); n > 0; --n) {
      const size_t at = random.Below(text.size()), size = random.Below(8);
      static constexpr char kTelling[] = "{}[]\",:0123456789-e.tfn\\ \xC4\xA0";
      switch (random.Below(4)) {
        case 0:
          text[at] = kTelling[random.Below(sizeof(kTelling) - 1)];
          break;
        case 1:
          text.erase(at, size);
          break;
        case 2:
          text.insert(at, text.substr(random.Below(text.size()), size));
          break;
        default:
          if (random.Below(10) == 0) text.resize(at);
          break;
      }
      if (text.empty()) text = " ";
    }
    const auto definition = ParseTokenizerJson(text, "t.json");
    if (!definition.ok()) continue;
    const auto tokenizer = NewBpeTokenizer(*definition, {});
    if (!tokenizer.ok()) continue;
    ++read;
    const std::string back =
        (*tokenizer)->Decode(*(*tokenizer)->Encode("hello <|end|> w\xFFrld é"));
    EXPECT_LE(back.size(), 1000u);
  }
  EXPECT_GT(read, 10);
}

}  // namespace
}  // namespace tritter
