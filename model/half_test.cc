#include "model/half.h"

#include <limits>

#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(F16, EveryHalfComesBackAndEveryFloatGoesToTheNearest) {
  for (uint32_t half = 0; half < 0x7C00; ++half) {
    const float value = FromF16(static_cast<uint16_t>(half));
    ASSERT_EQ(ToF16(value), half);
    ASSERT_EQ(ToF16(-value), half | 0x8000);
    if (half + 1 == 0x7C00) break;
    // The middle goes to the even one, what is beside it to its side.
    const float next = FromF16(static_cast<uint16_t>(half + 1)), middle = (value + next) / 2;
    ASSERT_EQ(ToF16(middle), half + (half & 1)) << half;
    ASSERT_EQ(ToF16(std::nextafter(middle, 0.0f)), half);
    ASSERT_EQ(ToF16(std::nextafter(middle, next)), half + 1);
  }
  EXPECT_EQ(ToF16(65504), 0x7BFF);
  EXPECT_EQ(ToF16(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(ToF16(65520), 0x7C00);
  EXPECT_EQ(ToF16(1e30f), 0x7C00);
  EXPECT_EQ(ToF16(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_TRUE(std::isinf(FromF16(0x7C00)));
  EXPECT_TRUE(std::isnan(FromF16(ToF16(std::numeric_limits<float>::quiet_NaN()))));
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
