#include "model/text/bpe_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "model/text/added_tokens.h"
#include "model/text/bpe_merger.h"
#include "model/text/nfc.h"
#include "model/text/pre_tokenizer.h"
#include "model/text/testing/bpe_test_tokenizer.h"

namespace tritter {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr int32_t kHello = 259, kWorld = 264, kEnd = 266, kTool = 267;  // of BpeTestTokenizer()

std::shared_ptr<const Tokenizer> Make(const json& root, Ids end_ids = {}) {
  const auto definition = ParseTokenizerJson(root.dump(), "t");
  EXPECT_OK(definition);
  auto tokenizer = NewBpeTokenizer(*definition, std::move(end_ids));
  EXPECT_OK(tokenizer);
  return *tokenizer;
}

// The rule as it is written down: the lowest rank first, the leftmost of these, until none is left.
Ids SlowMerges(const TokenizerDefinition& d, Ids symbols) {
  while (true) {
    size_t rank = d.merges.size(), at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (size_t r = 0; r < rank; ++r) {
        if (d.merges[r].left != symbols[i] || d.merges[r].right != symbols[i + 1]) continue;
        rank = r;
        at = i;
      }
    }
    if (rank == d.merges.size()) return symbols;
    symbols[at] = d.merges[rank].merged;
    symbols.erase(symbols.begin() + at + 1);
  }
}

TEST(BpeTokenizer, MergesByRankWithinPieces) {
  const auto t = Make(BpeTestTokenizer());
  EXPECT_EQ(*t->Encode("hello world"), (Ids{kHello, kWorld}));
  EXPECT_EQ(*t->Encode("helloworld"), (Ids{kHello, 'w', 261, 263}));
  EXPECT_EQ(*t->Encode(""), Ids{});
  EXPECT_EQ(t->Decode(*t->Encode("hello world")), "hello world");
  EXPECT_EQ(t->vocabulary(), kTool + 1);
}

TEST(BpeTokenizer, MergesAsTheRuleSaysForRandomVocabularies) {
  Philox random(3);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::pair<std::string, std::string>> merges;
    std::vector<std::string> tokens = {"a", "b", "c"};
    for (int i = 0; i < 25; ++i) {
      const std::string left = tokens[random.Below(tokens.size())],
                        right = tokens[random.Below(tokens.size())];
      if (std::find(merges.begin(), merges.end(), std::pair(left, right)) != merges.end()) continue;
      merges.emplace_back(left, right);
      tokens.push_back(left + right);
    }
    ASSERT_OK_AND_ASSIGN(const TokenizerDefinition d,
                         ParseTokenizerJson(BpeTestTokenizer(merges).dump(), "t"));
    const BpeMerger merger(d);
    for (int i = 0; i < 30; ++i) {
      std::string piece;
      const size_t size = 1 + random.Below(i % 3 == 0 ? 200 : 12);  // both ways of merging
      while (piece.size() < size) piece += "abc"[random.Below(3)];
      Ids ids, again;
      merger.Encode(piece, &ids);
      merger.Encode(piece, &again);  // known by now whether it is one token
      EXPECT_EQ(ids, SlowMerges(d, Ids(piece.begin(), piece.end()))) << piece;
      EXPECT_EQ(again, ids);
    }
  }
}

TEST(BpeTokenizer, IgnoreMergesTakesATokenWhole) {
  json root = BpeTestTokenizer();
  root["model"]["vocab"]["zq"] = 300;  // no merge makes it
  EXPECT_EQ(*Make(root)->Encode("zq"), (Ids{'z', 'q'}));
  root["model"]["ignore_merges"] = true;
  EXPECT_EQ(*Make(root)->Encode("zq"), Ids{300});
}

TEST(BpeTokenizer, GivesBackAnyBytes) {
  const auto t = Make(BpeTestTokenizer());
  Philox random(5);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes;
    for (uint64_t n = random.Below(40); n > 0; --n)
      bytes += static_cast<char>(random.Below(2) ? random.Below(256)
                                                 : "helo w\xC3\xA9\xE2\x82"[random.Below(10)]);
    EXPECT_EQ(t->Decode(*t->EncodePlain(bytes)), bytes);
  }
  EXPECT_EQ(*t->Encode("\xFF"
                       "hello\xC3"),
            (Ids{0xFF, kHello, 0xC3}));
}

TEST(BpeTokenizer, StreamsWholeCharacters) {
  const auto t = Make(BpeTestTokenizer());
  StreamingDecoder decoder(t.get());
  EXPECT_EQ(decoder.Push(0xE2), "");
  EXPECT_EQ(decoder.Push(0x82), "");
  EXPECT_EQ(decoder.Push(0xAC), "€");
  EXPECT_EQ(decoder.Push(265), "é");
  EXPECT_EQ(decoder.Push(kEnd), "");
}

TEST(BpeTokenizer, FindsAddedTokensInTheText) {
  const auto t = Make(BpeTestTokenizer(), {kEnd});
  EXPECT_EQ(*t->Encode("hello<|end|><tool>"), (Ids{kHello, kEnd, kTool}));
  EXPECT_EQ(t->Decode(Ids{kHello, kEnd, kTool}), "hello<tool>");  // a special one gives nothing
  const Ids plain = *t->EncodePlain("hello<|end|><tool>");
  EXPECT_EQ(std::count(plain.begin(), plain.end(), kEnd), 0);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), kTool), 1);
  EXPECT_EQ(t->Decode(plain), "hello<|end|><tool>");
  EXPECT_EQ(t->SpecialId("<|end|>"), kEnd);
  EXPECT_EQ(t->SpecialId("<tool>"), std::nullopt);
  EXPECT_EQ(t->SpecialText(kEnd), "<|end|>");
  EXPECT_EQ(t->SpecialText(kTool), "");
  EXPECT_EQ(t->TokenBytes(kTool), "<tool>");
  EXPECT_EQ(t->TokenBytes(-1), "");
  EXPECT_EQ(t->end_ids(), Ids{kEnd});
  EXPECT_EQ(t->bos_id(), std::nullopt);
  EXPECT_EQ(*t->EncodePrompt("hello"), Ids{kHello});
}

TEST(BpeTokenizer, APromptGetsWhatTheTemplateSays) {
  json root = BpeTestTokenizer();
  const json special = {{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}};
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  root["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {special, text, special}},
                            {"pair", json::array()},
                            {"special_tokens", {{"<|end|>", {{"ids", {kEnd}}}}}}};
  const auto t = Make(root);
  EXPECT_EQ(*t->EncodePrompt("hello"), (Ids{kEnd, kHello, kEnd}));
  EXPECT_EQ(*t->Encode("hello"), Ids{kHello});
  EXPECT_EQ(t->bos_id(), kEnd);
}

TEST(BpeTokenizer, EndIdsMustBeTokens) {
  ASSERT_OK_AND_ASSIGN(const TokenizerDefinition d,
                       ParseTokenizerJson(BpeTestTokenizer().dump(), "t"));
  EXPECT_THAT(NewBpeTokenizer(d, {999}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("id 999")));
}

TEST(BpeTokenizer, HostileTextsTakeTheTimeOfTheirLength) {
  json root = BpeTestTokenizer({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}});
  root["normalizer"] = {{"type", "NFC"}};
  root["added_tokens"][1]["lstrip"] = root["added_tokens"][1]["rstrip"] = true;
  const auto t = Make(root);
  std::string marks = "a", tools;
  for (int i = 0; i < 300'000; ++i) {
    marks += i % 2 ? "\u0301" : "\u0323";
    tools += "<tool> ";
  }
  EXPECT_EQ(*t->Encode(std::string(8'000'000, 'a')), Ids(1'000'000, 258));
  EXPECT_GT(t->Encode(marks)->size(), 300'000u);
  EXPECT_EQ(t->Encode(tools)->size(), 300'000u);
  EXPECT_EQ(t->Encode(std::string(2'000'000, '<'))->size(), 2'000'000u);
  EXPECT_EQ(t->Encode(std::string(2'000'000, '\xFF'))->size(), 2'000'000u);
}

TEST(BpeTokenizer, ATextBeyondTheBoundsOfAPatternIsRefusedAndNotCutSomehow) {
  json root = BpeTestTokenizer();
  root["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Isolated", "invert": false,
       "pattern": {"Regex": "(?:a|b)*(?:a|b)*[xyz]|[a-z ]"}},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  const auto t = Make(root);
  EXPECT_OK(t->Encode("hello aaaab"));
  const std::string hostile = "hello \xFF<tool>hello " + std::string(20000, 'a');
  for (const auto& ids : {t->Encode(hostile), t->EncodePlain(hostile), t->EncodePrompt(hostile)}) {
    EXPECT_THAT(
        ids, StatusIs(absl::StatusCode::kInvalidArgument,
                      HasSubstr("the text from byte 13 on: the tokenizer's pattern "
                                "`(?:a|b)*(?:a|b)*[xyz]|[a-z ]` gives up at byte 6 of 20006: ")));
  }
}

TEST(BpeTokenizer, ManyThreadsGetTheSameIds) {
  const auto t = Make(BpeTestTokenizer());
  const std::string text = "hello world, hello hello world held";
  const Ids expected = *Make(BpeTestTokenizer())->Encode(text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 300; ++k) EXPECT_EQ(*t->Encode(text), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(AddedTokenFinder, TakesTheLongestAndMindsWordsAndSpace) {
  AddedTokenFinder finder;
  const auto add = [&](int32_t id, const char* content, bool lstrip, bool rstrip, bool word) {
    AddedToken token;
    token.id = id;
    token.content = content;
    token.lstrip = lstrip;
    token.rstrip = rstrip;
    token.single_word = word;
    finder.Add(token);
  };
  add(1, "ab", false, false, false);
  add(2, "abc", false, false, false);
  add(3, "left", true, false, false);
  add(4, "right", false, true, false);
  add(5, "word", false, false, true);
  const auto split = [&](absl::string_view text) {
    std::string out;
    for (const TextSection& s : finder.Split(text, false))
      out += s.id < 0 ? "[" + std::string(s.text) + "]" : std::to_string(s.id);
    return out;
  };
  EXPECT_EQ(split("xabcabd"), "[x]21[d]");
  EXPECT_EQ(split("a left b"), "[a]3[ b]");
  EXPECT_EQ(split("a right\u3000 b"), "[a ]4[b]");
  EXPECT_EQ(split("right  left"), "43");
  EXPECT_EQ(split("word words _word éword-word"), "5[ words _word éword-]5");
}

TEST(SplitAt, KnowsEveryBehaviour) {
  // "ab--c" with the matches "-" and "-".
  const std::vector<TextSpan> matches = {{2, 3}, {3, 4}};
  const auto split = [&](SplitBehavior behavior, bool invert) {
    const std::string text = "ab--c";
    std::string out;
    for (const TextSpan& s : SplitAt(text.size(), matches, behavior, invert))
      out += text.substr(s.begin, s.end - s.begin) + "|";
    return out;
  };
  EXPECT_EQ(split(SplitBehavior::kIsolated, false), "ab|-|-|c|");
  EXPECT_EQ(split(SplitBehavior::kRemoved, false), "ab|c|");
  EXPECT_EQ(split(SplitBehavior::kRemoved, true), "-|-|");
  EXPECT_EQ(split(SplitBehavior::kMergedWithPrevious, false), "ab-|-|c|");
  EXPECT_EQ(split(SplitBehavior::kMergedWithNext, false), "ab|-|-c|");
  EXPECT_EQ(split(SplitBehavior::kContiguous, false), "ab|--|c|");
}

TEST(Nfc, ComposesAndOrders) {
  EXPECT_EQ(Nfc("plain"), "plain");
  EXPECT_EQ(Nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(Nfc("e\u0301\u0323"), "\u1eb9\u0301");
  EXPECT_EQ(Nfc("\u1100\u1161\u11a8"), "\uac01");
  EXPECT_EQ(Nfc("\u212b\u0958"), "\u00c5\u0915\u093c");
}

}  // namespace
}  // namespace tritter
