#include "inference/stop_matcher.h"

#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(StopMatcher, PassesTextThroughWithoutStops) {
  StopMatcher m({});
  EXPECT_EQ(m.Push("abc"), "abc");
  EXPECT_EQ(m.Finish(), "");
}

TEST(StopMatcher, FindsAStopAcrossPieces) {
  StopMatcher m({"\n\n"});
  EXPECT_EQ(m.Push("ab\n"), "ab");
  EXPECT_EQ(m.Push("\ncd"), "");
  EXPECT_TRUE(m.found());
  EXPECT_EQ(m.Push("more"), "");
  EXPECT_EQ(m.Finish(), "");
}

TEST(StopMatcher, ReleasesWhatTurnsOutNotToBeAStop) {
  StopMatcher m({"STOP"});
  EXPECT_EQ(m.Push("xST"), "x");
  EXPECT_EQ(m.Push("x"), "STx");
  EXPECT_EQ(m.Push("STO"), "");
  EXPECT_EQ(m.Finish(), "STO");
  EXPECT_FALSE(m.found());
}

TEST(StopMatcher, KeepsAnOverlappingBeginning) {
  StopMatcher m({"aab"});
  EXPECT_EQ(m.Push("aaa"), "a");  // "aa" may still become the stop
  EXPECT_EQ(m.Push("b"), "");
  EXPECT_TRUE(m.found());
}

TEST(StopMatcher, TheEarliestOfSeveralStopsWins) {
  StopMatcher m({"later", "b"});
  EXPECT_EQ(m.Push("ab later"), "a");
  EXPECT_TRUE(m.found());
}

}  // namespace
}  // namespace tritter
