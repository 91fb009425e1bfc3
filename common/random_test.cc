#include "common/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace tritter {
namespace {

using Words = std::array<uint32_t, 4>;

// kat_vectors of Random123 1.14 (Salmon et al.), philox4x32 with 10 rounds.
TEST(Philox, MatchesPublishedVectors) {
  EXPECT_EQ(Philox::Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox::Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox::Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                               {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, StreamIsTheBlocksInOrder) {
  Philox random(0);
  EXPECT_EQ(random.Next64(), 0xe169c58d6627e8d5u);
  EXPECT_EQ(random.Next64(), 0x9b00dbd8bc57ac4cu);
}

TEST(Philox, ResumesAtAnyCounter) {
  std::vector<uint64_t> values;
  Philox whole(42);
  for (int i = 0; i < 100; ++i) values.push_back(whole.Next64());
  for (int start = 0; start < 100; ++start) {
    Philox part(42, start);
    for (int i = start; i < 100; ++i) ASSERT_EQ(part.Next64(), values[i]) << start << " " << i;
    EXPECT_EQ(part.counter(), 100u);
  }
}

TEST(Philox, CopyGoesOnAlike) {
  Philox a(7);
  a.Next64();
  Philox b = a;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(a.Next64(), b.Next64());
}

TEST(Philox, UniformHasTheMomentsOfTheUnitInterval) {
  Philox random(1);
  const int n = 200000;
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = random.Uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(squares / n, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / n));
}

TEST(Philox, NormalHasTheMomentsOfTheStandardNormal) {
  Philox random(2);
  const int n = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < n; ++i) {
    const double x = random.Normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_EQ(random.counter(), 2u * n);
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(fourth / n, 3, 5 * std::sqrt(96.0 / n));
}

TEST(Philox, BelowIsUniform) {
  Philox random(3);
  const int kSides = 7, n = 70000;
  std::vector<int> counts(kSides);
  for (int i = 0; i < n; ++i) ++counts.at(random.Below(kSides));
  double chi2 = 0;
  for (int c : counts) chi2 += (c - n / kSides) * (c - n / kSides) / (double(n) / kSides);
  EXPECT_LT(chi2, 30);  // six degrees of freedom: p < 4e-5
}

TEST(Philox, BelowStaysInRangeForLargeBounds) {
  Philox random(4);
  const uint64_t n = (uint64_t{1} << 63) + 1;  // plain modulo would reject or bias half the draws
  uint64_t above_half = 0;
  for (int i = 0; i < 10000; ++i) {
    const uint64_t v = random.Below(n);
    ASSERT_LT(v, n);
    above_half += v > n / 2;
  }
  EXPECT_NEAR(above_half, 5000, 250);
  EXPECT_EQ(random.Below(1), 0u);
}

TEST(Permutation, IsABijectionForEverySmallSize) {
  for (uint64_t n = 1; n <= 300; ++n) {
    const Permutation p(n * 17, n);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < n; ++i) {
      ASSERT_LT(p(i), n);
      seen.insert(p(i));
    }
    ASSERT_EQ(seen.size(), n);
  }
}

TEST(Permutation, IsABijectionAroundPowersOfTwo) {
  for (int bits = 9; bits <= 16; ++bits) {
    for (int64_t d : {-1, 0, 1}) {
      const uint64_t n = (uint64_t{1} << bits) + d;
      const Permutation p(99, n);
      std::vector<bool> seen(n);
      for (uint64_t i = 0; i < n; ++i) {
        const uint64_t v = p(i);
        ASSERT_LT(v, n);
        ASSERT_FALSE(seen[v]) << n << " " << i;
        seen[v] = true;
      }
    }
  }
}

TEST(Permutation, HugeRangesStayInRangeWithoutRepeats) {
  for (uint64_t n : {uint64_t{1} << 40, ~uint64_t{0}, (uint64_t{1} << 63) + 1}) {
    const Permutation p(5, n);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < 1000; ++i) {
      ASSERT_LT(p(i), n);
      seen.insert(p(i));
    }
    EXPECT_EQ(seen.size(), 1000u);
  }
}

// The value expected at a place is (n - 1) / 2 whatever the place; a weak mixing shows as a drift.
TEST(Permutation, MixesNeighboursAndKeys) {
  const uint64_t n = 10000;
  double product = 0;
  int same = 0;
  const Permutation p(1, n), q(2, n);
  for (uint64_t i = 0; i + 1 < n; ++i) {
    product += (p(i) - (n - 1) / 2.0) * (p(i + 1) - (n - 1) / 2.0);
    same += p(i) == q(i);
  }
  EXPECT_LT(std::abs(product / n / (n * n / 12.0)), 0.05);  // correlation, sigma = 0.01
  EXPECT_LT(same, 10);                                      // one expected
}

TEST(Permutation, EveryOrderOfThreeOccursAboutAsOften) {
  std::map<std::vector<uint64_t>, int> counts;
  for (uint64_t key = 0; key < 6000; ++key) {
    const Permutation p(MixKey(key), 3);
    ++counts[{p(0), p(1), p(2)}];
  }
  ASSERT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 200);
}

TEST(MixKey, ChangesWithEveryWordAndTheirOrder) {
  std::set<uint64_t> keys;
  for (uint64_t a = 0; a < 3; ++a) {
    for (uint64_t b = 0; b < 3; ++b) {
      for (uint64_t c = 0; c < 3; ++c) {
        for (uint64_t d = 0; d < 3; ++d) keys.insert(MixKey(a, b, c, d));
      }
    }
  }
  EXPECT_EQ(keys.size(), 81u);
}

TEST(HashString, MatchesPublishedFnv1a) {
  EXPECT_EQ(HashString(""), 0xcbf29ce484222325u);
  EXPECT_EQ(HashString("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(HashString("foobar"), 0x85944171f73967e8u);
}

TEST(RandomId, HasThePrefixAndTenCharacters) {
  const std::string a = RandomId("run"), b = RandomId("run");
  EXPECT_EQ(a.size(), 14u);
  EXPECT_EQ(a.substr(0, 4), "run-");
  EXPECT_EQ(a.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789", 4), std::string::npos);
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace tritter
