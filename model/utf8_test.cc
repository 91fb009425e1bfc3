#include "model/utf8.h"

#include <gtest/gtest.h>

namespace tritter {
namespace {

TEST(WholeUtf8, ReplacesWhatIsBrokenOrCutOff) {
  EXPECT_EQ(WholeUtf8("größe 世界"), "größe 世界");
  EXPECT_EQ(WholeUtf8("a\xff"
                      "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(WholeUtf8("gr\xC3"), "gr\xEF\xBF\xBD");  // ends within a character
  EXPECT_EQ(WholeUtf8(""), "");
}

TEST(WholeUtf8, CutsBetweenCharacters) {
  EXPECT_EQ(WholeUtf8("größe", 4), "grö");
  EXPECT_EQ(WholeUtf8("größe", 3), "gr");
  EXPECT_EQ(WholeUtf8("a\xff", 3), "a");  // the replacement has three bytes
  EXPECT_EQ(WholeUtf8("größe", 0), "");
}

TEST(ShowableUtf8, HasNothingThatATerminalWouldObey) {
  EXPECT_EQ(ShowableUtf8("\x1b[2Jgr\xC3\xB6\xC3\x9F"
                         "e\t1\r\n\x7f"),
            "?[2Jgröße\t1  ?");
  EXPECT_EQ(ShowableUtf8("\xC2\x9B"
                         "2J\xC2\xA0\xC2"),
            "?2J\xC2\xA0\xEF\xBF\xBD");  // CSI of C1
  EXPECT_EQ(ShowableUtf8("größe", 3), "gr");
}

TEST(WholeUtf8, IsAlwaysValid) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string text = {static_cast<char>(a), static_cast<char>(b), 'x'};
      EXPECT_TRUE(IsValidUtf8(WholeUtf8(text))) << a << " " << b;
    }
  }
}

}  // namespace
}  // namespace tritter
