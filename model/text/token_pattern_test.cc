#include "model/text/token_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> Matches(absl::string_view pattern, const std::string& text) {
  const absl::StatusOr<TokenPattern> compiled = TokenPattern::Compile(pattern);
  EXPECT_OK(compiled);
  TokenPattern::Scratch scratch;
  std::vector<TextSpan> spans;
  EXPECT_OK(compiled->FindAll(text, &scratch, &spans));
  std::vector<std::string> out;
  for (const TextSpan& span : spans) out.push_back(text.substr(span.begin, span.end - span.begin));
  return out;
}

TEST(TokenPattern, SplitsAsLlama3Does) {
  EXPECT_THAT(Matches(kLlama3, "I'LL pay  12345\u00a0€, größe \n x"),
              ElementsAre("I", "'LL", " pay", " ", " ", "123", "45", "\u00a0", "€,", " größe",
                          " \n", " x"));
}

TEST(TokenPattern, ClassesAreUnicodes) {
  EXPECT_THAT(Matches(R"(\d+|[\s]+)", "٣4\u2003\u0085\u200b½"), ElementsAre("٣4", "\u2003\u0085"));
  EXPECT_THAT(Matches(R"(\s)", "\u180e"), ElementsAre());  // a space to PCRE2, not to Unicode
  EXPECT_THAT(Matches(R"(\p{Han}+|[\u0041-\x{43}]+)", "漢字ー ABCD"), ElementsAre("漢字", "ABC"));
  EXPECT_THAT(Matches(R"(\v)", "\n\x0b"), ElementsAre("\x0b"));  // one character, not a class
  EXPECT_THAT(Matches("(?i:'s)", "'S'\u017f"), ElementsAre("'S", "'\u017f"));
}

TEST(TokenPattern, RefusesWhatItDoesNotTranslateByNameAndOffset) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"(a\w+)", R"(`\w` at offset 1 of the pattern is not supported)"},
      {R"(a\b)", R"(`\b` at offset 1)"},
      {R"(\h)", R"(`\h` at offset 0)"},
      {R"((a)\1)", R"(`\1` at offset 3)"},
      {R"(^a)", "`^` at offset 0"},
      {R"(a$)", "`$` at offset 1"},
      {R"([a&&b])", "`&&` at offset 2"},
      {R"([[:alpha:]])", "`[:` at offset 1"},
      {R"((?m:a))", "`(?m:` at offset 0"},
      {R"((?<name>a))", "`(?<n` at offset 0"},
      {R"(a{1,3}+)", "at offset 1"},
      {R"(a{,3})", "`{,3}` at offset 1"},
      {R"(a**)", "at offset 1"},
      {R"(\p{Emoji})", "`\\p{Emoji}` at offset 0"},
      {R"((?=a)*b)", "at offset 5"},
      {R"((a+)+b)", "repeats without bound"},
      {R"((?:a|b*){2,})", "repeats without bound"},
      {"(a", "is not closed"},
      {"[a", "is not closed"},
      {"a)", "closes no group"},
      {R"(\xff)", "at offset 0"},
      {"a\\", "escapes nothing"},
      {"a*", "matches the empty text"},
      {"", "matches the empty text"},
      {std::string(20000, 'a'), "20000 bytes"},
      {std::string(100, '(') + "a" + std::string(100, ')'), "nested too deeply"},
  };
  for (const auto& [pattern, message] : cases) {
    EXPECT_THAT(TokenPattern::Compile(pattern),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << pattern;
  }
}

TEST(TokenPattern, LiteralsMatchThemselves) {
  ASSERT_OK_AND_ASSIGN(const TokenPattern dots, TokenPattern::Literal(".*é\\"));
  TokenPattern::Scratch scratch;
  std::vector<TextSpan> spans;
  ASSERT_OK(dots.FindAll("x.*é\\ abc", &scratch, &spans));
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].begin, 1u);
  EXPECT_EQ(spans[0].end, 6u);
}

TEST(TokenPattern, BeyondTheBoundsIsAnErrorThatSaysWhereAndWhat) {
  const auto find = [](absl::string_view pattern, const std::string& text) {
    const absl::StatusOr<TokenPattern> compiled = TokenPattern::Compile(pattern);
    EXPECT_OK(compiled);
    TokenPattern::Scratch scratch;
    std::vector<TextSpan> spans;
    return compiled->FindAll(text, &scratch, &spans);
  };
  const std::string steps = "(?:x|y)*(?:x|y)*[zw]|x";
  EXPECT_OK(find(steps, std::string(30, 'x')));
  EXPECT_THAT(find(steps, "z" + std::string(20000, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("pattern `(?:x|y)*(?:x|y)*[zw]|x` gives up at byte "
                                                "1 of 20001: match limit exceeded"),
                                      HasSubstr("20000000 steps and 262144 kB"))));
  // Remembers every time round, to come back to it.
  EXPECT_THAT(find("(?:x|(y))+z|[xy]", std::string(8'000'000, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("limit exceeded")));
}

TEST(TokenPattern, LongRunsAreMatchedWhole) {
  for (const std::string run : {" ", "a", "\n", "!", "é"}) {
    std::string text;
    for (int i = 0; i < 2'000'000; ++i) text += run;
    size_t bytes = 0;
    for (const std::string& match : Matches(kLlama3, text)) bytes += match.size();
    EXPECT_EQ(bytes, text.size());
  }
}

}  // namespace
}  // namespace tritter
