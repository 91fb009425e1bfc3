#include "kernels/half.h"

#include <cmath>
#include <random>

#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(Half, EveryFiniteOneSurvivesTheWayThereAndBack) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    if ((h & 0x7c00) == 0x7c00) continue;  // infinity and NaN
    const uint16_t half = static_cast<uint16_t>(h);
    const float x = HalfToFloat(half);
    EXPECT_EQ(HalfNearest(x), half);
    EXPECT_EQ(HalfToFloat(HalfDown(x)), x);
    EXPECT_EQ(HalfToFloat(HalfUp(x)), x);
  }
}

TEST(Half, RoundsInTheAskedDirectionToTheNextOne) {
  std::mt19937 rng(1);
  for (int i = 0; i < 200000; ++i) {
    const float x = std::ldexp(static_cast<float>(rng()) / 4294967296.0f - 0.5f,
                               static_cast<int>(rng() % 44) - 27);
    const float down = HalfToFloat(HalfDown(x)), up = HalfToFloat(HalfUp(x)),
                nearest = HalfToFloat(HalfNearest(x));
    ASSERT_LE(down, x);
    ASSERT_GE(up, x);
    ASSERT_TRUE(nearest == down || nearest == up) << x;
    ASSERT_LE(std::fabs(nearest - x), std::fabs((nearest == down ? up : down) - x));
    if (down != up) {  // neighbours
      const float middle = HalfToFloat(HalfNearest((down + up) / 2));
      ASSERT_TRUE(middle == down || middle == up) << x;
    }
  }
}

TEST(Half, ExtremesAreClampedAndNanStays) {
  EXPECT_EQ(HalfToFloat(HalfNearest(1e30f)), 65504.0f);
  EXPECT_EQ(HalfToFloat(HalfDown(-1e30f)), -65504.0f);
  EXPECT_EQ(HalfToFloat(HalfUp(INFINITY)), 65504.0f);
  EXPECT_TRUE(std::isnan(HalfToFloat(HalfNearest(NAN))));
  EXPECT_TRUE(std::isnan(HalfToFloat(HalfUp(NAN))));
  EXPECT_TRUE(std::isnan(HalfToFloat(HalfDown(NAN))));
  EXPECT_EQ(HalfNearest(-0.0f), 0x8000);
}

}  // namespace
}  // namespace tritter
