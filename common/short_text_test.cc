#include "common/short_text.h"

#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(ShortText, CutsBetweenCharactersAndSaysSo) {
  EXPECT_EQ(ShortText("abc", 3), "abc");
  EXPECT_EQ(ShortText("abcd", 3), "abc…");
  EXPECT_EQ(ShortText("aé€", 6), "aé€");
  EXPECT_EQ(ShortText("aé€", 5), "aé…");
  EXPECT_EQ(ShortText("aé€", 2), "a…");
  EXPECT_EQ(ShortText("\x80\x80\x80", 2), "…");
}

}  // namespace
}  // namespace tritter
