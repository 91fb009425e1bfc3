#include "kernels/half.h"

#include <cmath>
#include <limits>
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

TEST(F16, EveryHalfComesBackAndEveryFloatGoesToTheNearest) {
  for (uint32_t half = 0; half < 0x7C00; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    ASSERT_EQ(ToF16(value), half);
    ASSERT_EQ(ToF16(-value), half | 0x8000);
    if (half + 1 == 0x7C00) break;
    // The middle goes to the even one, what is beside it to its side.
    const float next = HalfToFloat(static_cast<uint16_t>(half + 1)), middle = (value + next) / 2;
    ASSERT_EQ(ToF16(middle), half + (half & 1)) << half;
    ASSERT_EQ(ToF16(std::nextafter(middle, 0.0f)), half);
    ASSERT_EQ(ToF16(std::nextafter(middle, next)), half + 1);
  }
  EXPECT_EQ(ToF16(65504), 0x7BFF);
  EXPECT_EQ(ToF16(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(ToF16(65520), 0x7C00);
  EXPECT_EQ(ToF16(1e30f), 0x7C00);
  EXPECT_EQ(ToF16(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_TRUE(std::isinf(HalfToFloat(0x7C00)));
  EXPECT_TRUE(std::isnan(HalfToFloat(ToF16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(ToF16(1e-30f), 0);
}

TEST(BF16, EveryHalfComesBackAndEveryFloatGoesToTheNearest) {
  for (uint32_t half = 0; half < 0x7F80; ++half) {
    const float value = FromBF16(static_cast<uint16_t>(half));
    ASSERT_EQ(ToBF16(value), half);
    ASSERT_EQ(ToBF16(-value), half | 0x8000);
    const uint32_t middle = half << 16 | 0x8000;
    ASSERT_EQ(ToBF16(std::bit_cast<float>(middle)), half + (half & 1));
    ASSERT_EQ(ToBF16(std::bit_cast<float>(middle - 1)), half);
    ASSERT_EQ(ToBF16(std::bit_cast<float>(middle + 1)), half + 1);
  }
  EXPECT_TRUE(std::isnan(FromBF16(ToBF16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace
}  // namespace tritter
