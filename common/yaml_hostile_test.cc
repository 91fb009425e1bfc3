// Texts that want to hang, exhaust or surprise the reader.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string.h>

#include "absl/strings/str_cat.h"
#include "common/nearest_word.h"
#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "common/yaml.h"

namespace tritter {
namespace {

using testing::HasSubstr;

std::string Repeat(absl::string_view piece, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) absl::StrAppend(&out, piece);
  return out;
}

// All that is wrong, from Parse or Finish.
std::string Errors(const std::string& text) {
  absl::StatusOr<YamlDocument> doc = YamlDocument::Parse(text, "f");
  if (!doc.ok()) return std::string(doc.status().message());
  YamlMap root = doc->Root();
  for (const std::string& key : root.Keys()) {
    std::string value;
    root.Get(key, &value);
  }
  return std::string(doc->Finish().message());
}

TEST(YamlHostile, AnchorsAliasesMergeKeysAndTagsAreRefused) {
  EXPECT_THAT(Errors("a: &x 1\nb: *x\n"),
              testing::AllOf(HasSubstr("f:1:4: a: anchors (&name) are not supported"),
                             HasSubstr("f:2:4: b: aliases (*name) are not supported")));
  EXPECT_THAT(Errors("a: x\n<<: {b: 1}\n"), HasSubstr("f:2:1: <<: merge keys (<<) are not"));
  EXPECT_THAT(Errors("a: !!int 3\n"), HasSubstr("a: tags are not supported"));
  EXPECT_THAT(Errors("a: !secret 3\n"), HasSubstr("a: tags are not supported, got !secret"));
  EXPECT_THAT(Errors("? [a, b]\n: c\n"), HasSubstr("a key must be a word or a quoted string"));
  EXPECT_THAT(Errors("a: *nobody\n"), HasSubstr("f:1:"));
}

TEST(YamlHostile, BillionLaughsStaysSmall) {
  std::string text = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'z'; ++c) {
    const std::string alias = absl::StrCat("*", std::string(1, c - 1));
    absl::StrAppend(&text, std::string(1, c), ": &", std::string(1, c), " [", alias,
                    Repeat(absl::StrCat(",", alias), 8), "]\n");
  }
  EXPECT_THAT(Errors(text), HasSubstr("aliases (*name) are not supported"));
}

// What is wrong below a long key is said with a path of some hundred bytes, however often.
TEST(YamlHostile, WhatIsWrongTakesLittleMemory) {
  const std::string key(500000, 'k');
  const std::string aliases = absl::StrCat("a: &x 1\n", key, ": [", Repeat("*x,", 150000), "]\n");
  ASSERT_LT(aliases.size(), size_t{1} << 20);
  EXPECT_LT(Errors(aliases).size(), 100000u);
  const std::string unknown = absl::StrCat("a: {", key, ": {", Repeat("? {}\n,", 50000), "}}\n");
  EXPECT_LT(Errors(unknown).size(), 100000u);
  EXPECT_LT(Errors(absl::StrCat("a: ", Repeat("!", 2) + key, " 3\n")).size(), 10000u);
}

TEST(YamlHostile, OfALongerListTheFirstAreTaken) {
  absl::StatusOr<YamlDocument> doc =
      YamlDocument::Parse(absl::StrCat("s:\n", Repeat("- {unknown: 1}\n", 5)), "f");
  ASSERT_OK(doc);
  EXPECT_EQ(doc->Root().MapList("s", 2).size(), 2u);
  EXPECT_EQ(doc->Finish().message(),
            "f:2:1: s: has 5 items, expected at most 2\nf:2:4: s[0].unknown: unknown key\n"
            "f:3:4: s[1].unknown: unknown key");
}

TEST(YamlHostile, SizeIsBounded) {
  const std::string text = absl::StrCat("a: ", std::string((1 << 20) - 3, 'x'));
  EXPECT_OK(YamlDocument::Parse(text, "f"));
  EXPECT_EQ(Errors(text + "y"), "f:1:1: too large: 1048577 bytes, at most 1048576 are read");
}

TEST(YamlHostile, DepthIsBounded) {
  auto nested = [](int depth) {  // the root mapping counts as one
    return absl::StrCat("a: ", Repeat("[", depth - 1), Repeat("]", depth - 1));
  };
  EXPECT_OK(YamlDocument::Parse(nested(64), "f"));
  EXPECT_EQ(Errors(nested(65)), "f:1:67: nested deeper than 64 levels");
}

// A quadratic reader would take minutes. Bounded by the timeout of the test.
TEST(YamlHostile, LargeTextsOfEveryShapeEnd) {
  const size_t kBytes = 1 << 18;
  for (const char* piece :
       {"[", "{",  "- ", "? ", "a: ", "{a: ", "&a ",     "*a ", "! ", "\"", "'",     "|\n",   "a\n",
        " ", "\n", "#",  "%",  "\t",  ",",    "- - -\n", "[]",  "{}", "\\", "---\n", "a: {\n"}) {
    Errors(Repeat(piece, (kBytes - 3) / strlen(piece)));
    Errors("k: " + Repeat(piece, (kBytes - 3) / strlen(piece)));
  }
}

TEST(YamlHostile, ManyKeysAreNotQuadratic) {
  std::string text;
  for (int i = 0; text.size() < 1000000; ++i) absl::StrAppend(&text, "k", i, ": v\n");
  EXPECT_EQ(Errors(text), "");
  absl::StatusOr<YamlDocument> unread = YamlDocument::Parse(text, "f");
  ASSERT_OK(unread);
  unread->Root();
  EXPECT_FALSE(unread->Finish().ok());
}

TEST(YamlHostile, RandomBytesNeverThrow) {
  static constexpr absl::string_view kPieces[] = {
      "a",       "b",  ":", ": ", "\n", "  ", "- ",    "[",
      "]",       "{",  "}", ",",  "\"", "'",  "|",     ">",
      "&a",      "*a", "!", "%",  "#",  "?",  "---\n", "...\n",
      "\xff",    "~",  "1", "<<", "\\", "\r", "\t",    "\xef\xbb\xbf",
      "\xfe\xff"};
  Philox random(11);
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    const uint64_t n = random.Below(24);
    for (uint64_t i = 0; i < n; ++i)
      absl::StrAppend(&text, kPieces[random.Below(std::size(kPieces))]);
    Errors(text);
  }
}

TEST(NearestWord, FindsMisspellingsOnly) {
  const std::vector<std::string> words = {"hidden", "heads", "layers", "global_batch", "id"};
  EXPECT_EQ(NearestWord("hiden", words), "hidden");
  EXPECT_EQ(NearestWord("haeds", words), "heads");
  EXPECT_EQ(NearestWord("globalbatch", words), "global_batch");
  EXPECT_EQ(NearestWord("Hidden", words), "hidden");
  EXPECT_EQ(NearestWord("vocabulary", words), "");
  EXPECT_EQ(NearestWord("zz", words), "");
  EXPECT_EQ(NearestWord("", words), "");
  EXPECT_EQ(NearestWord(std::string(1000000, 'h'), words), "");
}

}  // namespace
}  // namespace tritter
