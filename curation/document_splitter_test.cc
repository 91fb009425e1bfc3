#include "curation/document_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

std::vector<std::pair<std::string, uint64_t>> Split(absl::string_view text) {
  std::vector<std::pair<std::string, uint64_t>> out;
  BlankLineSplitter splitter(text);
  absl::string_view document;
  uint64_t line = 0;
  while (splitter.Next(&document, &line)) out.emplace_back(std::string(document), line);
  EXPECT_EQ(splitter.position(), text.size());
  return out;
}

TEST(BlankLineSplitter, CutsAtOneOrMoreBlankLines) {
  EXPECT_THAT(Split("a\nb\n\nc\n\n\n\nd"),
              ElementsAre(Pair("a\nb", 1), Pair("c", 4), Pair("d", 8)));
}

TEST(BlankLineSplitter, LineBreaksAtTheEndsBelongToNoDocument) {
  EXPECT_THAT(Split("\n\na\n"), ElementsAre(Pair("a", 3)));
  EXPECT_THAT(Split("a\n\n"), ElementsAre(Pair("a", 1)));
  EXPECT_THAT(Split("\na"), ElementsAre(Pair("a", 2)));
}

TEST(BlankLineSplitter, NothingInNothingOut) {
  EXPECT_THAT(Split(""), IsEmpty());
  EXPECT_THAT(Split("\n"), IsEmpty());
  EXPECT_THAT(Split("\n\r\n\n"), IsEmpty());
}

TEST(BlankLineSplitter, WindowsLineBreaksSeparateToo) {
  EXPECT_THAT(Split("a\r\nb\r\n\r\nc\r\n"), ElementsAre(Pair("a\r\nb", 1), Pair("c", 4)));
}

TEST(BlankLineSplitter, SpacesAreText) {
  EXPECT_THAT(Split("a\n \nb"), ElementsAre(Pair("a\n \nb", 1)));
}

}  // namespace
}  // namespace tritter
