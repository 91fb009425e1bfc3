#include "kernels/attention_mask.h"

#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/attention_cases.h"

namespace tritter {
namespace {

TEST(AttentionMask, IsTheMatrixOfItsModeForEveryQueryAndKey) {
  for (const AttentionCase& c : AttentionCases({1, 2, 5, 16, 17, 40})) {
    int64_t pairs = 0;
    for (int64_t q = 0; q < c.mask.length; ++q) {
      const KeyRanges keys = KeysOf(c.mask, q);
      EXPECT_LE(keys.sinks, keys.begin) << c.name;
      EXPECT_LT(keys.begin, keys.end) << c.name;
      EXPECT_LE(keys.end, c.mask.length) << c.name;
      for (int64_t k = 0; k < c.mask.length; ++k) {
        const bool seen = k < keys.sinks || (k >= keys.begin && k < keys.end);
        EXPECT_EQ(seen, c.sees(q, k)) << c.name << " query " << q << " key " << k;
        pairs += c.sees(q, k);
      }
    }
    EXPECT_EQ(VisiblePairs(c.mask), pairs) << c.name;
  }
}

// What the tiles of the kernels rest on.
TEST(AttentionMask, RangesNeverMoveBackFromOneQueryToTheNext) {
  for (const AttentionCase& c : AttentionCases({40})) {
    std::vector<KeyRanges> keys(c.mask.length);
    KeysOfTile(c.mask, 0, c.mask.length, keys.data());
    for (int64_t q = 1; q < c.mask.length; ++q) {
      EXPECT_GE(keys[q].sinks, keys[q - 1].sinks) << c.name;
      EXPECT_GE(keys[q].begin, keys[q - 1].begin) << c.name;
      EXPECT_GE(keys[q].end, keys[q - 1].end) << c.name;
    }
  }
}

TEST(AttentionMask, WorkOfAWindowGrowsWithTheLengthAndNotWithItsSquare) {
  AttentionMask mask{.length = 4096, .window = 64, .sinks = 4};
  const int64_t pairs = VisiblePairs(mask);
  mask.length *= 2;
  EXPECT_EQ(VisiblePairs(mask) - pairs, 4096 * (64 + 4));
}

}  // namespace
}  // namespace tritter
