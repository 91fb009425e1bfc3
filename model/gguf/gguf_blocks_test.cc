#include "model/gguf/gguf_blocks.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "common/random.h"
#include "gtest/gtest.h"
#include "kernels/half.h"

namespace tritter {
namespace {

constexpr GgufType kAll[] = {GgufType::kF32,  GgufType::kF16,   GgufType::kBF16,
                             GgufType::kQ8_0, GgufType::kTQ1_0, GgufType::kTQ2_0};

std::vector<int8_t> RandomCodes(int64_t n, uint64_t seed) {
  Philox random(seed);
  std::vector<int8_t> q(n);
  for (int8_t& code : q) code = static_cast<int8_t>(random.Below(3)) - 1;
  return q;
}

std::vector<float> RoundTrip(GgufType type, const std::vector<float>& values) {
  const int64_t n = static_cast<int64_t>(values.size());
  std::vector<uint8_t> bytes(GgufBytes(type, n));
  EncodeGguf(type, values.data(), n, bytes.data());
  std::vector<float> back(values.size());
  DecodeGguf(type, bytes.data(), n, back.data());
  return back;
}

TEST(GgufBlocks, PlainTypesRoundAsTheirFormatsSay) {
  Philox random(1);
  std::vector<float> values(2048);
  for (float& v : values) v = static_cast<float>(random.Normal() * std::exp(3 * random.Normal()));
  EXPECT_EQ(RoundTrip(GgufType::kF32, values), values);
  const std::vector<float> f16 = RoundTrip(GgufType::kF16, values),
                           bf16 = RoundTrip(GgufType::kBF16, values),
                           q8 = RoundTrip(GgufType::kQ8_0, values);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(f16[i], HalfToFloat(ToF16(values[i])));
    EXPECT_EQ(bf16[i], FromBF16(ToBF16(values[i])));
    float largest = 0;
    for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; ++j)
      largest = std::max(largest, std::fabs(values[j]));
    // Half a step, and the scale's own rounding to F16.
    EXPECT_LE(std::fabs(q8[i] - values[i]), largest * (0.5 / 127 + 0x1p-11)) << i;
  }
}

// Every element by its place in the block, as docs/formats/gguf.md gives it.
TEST(GgufBlocks, Tq2BlocksAreWhatTheFormulaSays) {
  const std::vector<int8_t> q = RandomCodes(256, 2);
  uint8_t block[66];
  EncodeGgufTernary(GgufType::kTQ2_0, q.data(), 256, 0.375f, block);
  for (int i = 0; i < 256; ++i) {
    const int byte = block[i / 128 * 32 + i % 32], code = byte >> (i % 128 / 32 * 2) & 3;
    EXPECT_EQ(code, q[i] + 1) << i;
  }
  EXPECT_EQ(block[64] | block[65] << 8, ToF16(0.375f));
}

TEST(GgufBlocks, Tq1BlocksAreWhatTheFormulaSays) {
  const std::vector<int8_t> q = RandomCodes(256, 3);
  uint8_t block[54];
  EncodeGgufTernary(GgufType::kTQ1_0, q.data(), 256, 0.375f, block);
  for (int i = 0; i < 256; ++i) {
    const int byte = i < 160 ? i % 32 : i < 240 ? 32 + (i - 160) % 16 : 48 + (i - 240) % 4;
    const int trit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
    // The fraction byte/256 in base 3, digit `trit`.
    double fraction = block[byte] / 256.0;
    for (int t = 0; t < trit; ++t) fraction = fraction * 3 - std::floor(fraction * 3);
    EXPECT_EQ(static_cast<int>(std::floor(fraction * 3)), q[i] + 1) << i;
  }
  EXPECT_EQ(block[52] | block[53] << 8, ToF16(0.375f));
}

TEST(GgufBlocks, CodesSurviveEveryTypeAndOnlyTheScaleIsRounded) {
  Philox random(4);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const std::vector<int8_t> q = RandomCodes(512, 100 + repeat);
    const float scale = static_cast<float>(std::exp(2 * random.Normal() - 3));
    for (const GgufType type : kAll) {
      std::vector<uint8_t> bytes(GgufBytes(type, 512));
      EncodeGgufTernary(type, q.data(), 512, scale, bytes.data());
      EXPECT_EQ(FindInvalidCode(type, bytes), -1);
      std::vector<float> values(512);
      DecodeGguf(type, bytes.data(), 512, values.data());
      // F16 has 11 significant bits: half a unit of the last is 2^-12 of at least half the value.
      // Q8_0 holds scale / 127, which is subnormal below 127 · 2^-14.
      const double bound = type == GgufType::kF32    ? 0
                           : type == GgufType::kBF16 ? 0x1p-8
                           : type == GgufType::kQ8_0 ? std::max(0x1p-11, 127 * 0x1p-25 / scale)
                                                     : 0x1p-11;
      for (int i = 0; i < 512; ++i) {
        ASSERT_LE(std::fabs(values[i] - q[i] * scale), bound * scale) << InfoOf(type).name << i;
        ASSERT_EQ(values[i] == 0, q[i] == 0);
      }
      // Exact from the second time on.
      if (type == GgufType::kTQ1_0 || type == GgufType::kTQ2_0)
        EXPECT_EQ(RoundTrip(type, values), values);
    }
  }
}

TEST(GgufBlocks, AnyBytesDecode) {
  Philox random(5);
  std::vector<uint8_t> bytes(66 * 8);
  std::vector<float> values(512);
  for (int repeat = 0; repeat < 500; ++repeat) {
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Below(256));
    for (const GgufType type : kAll) {
      const int64_t n =
          std::min<int64_t>(512, static_cast<int64_t>(bytes.size()) / InfoOf(type).block_bytes *
                                     InfoOf(type).block_values / 256 * 256);
      DecodeGguf(type, bytes.data(), n, values.data());
    }
  }
}

TEST(GgufBlocks, CodeThreeIsFound) {
  std::vector<uint8_t> bytes(66 * 3, 0x55);
  bytes[66 + 64] = bytes[66 + 65] = 0xFF;  // a scale may look like anything
  EXPECT_EQ(FindInvalidCode(GgufType::kTQ2_0, bytes), -1);
  bytes[66 + 63] = 0xD5;
  EXPECT_EQ(FindInvalidCode(GgufType::kTQ2_0, bytes), 66 + 63);
  EXPECT_EQ(FindInvalidCode(GgufType::kTQ1_0, bytes), -1);
}

TEST(GgufBlocks, ZerosHaveNoScale) {
  const std::vector<float> zeros(512, 0.0f);
  for (const GgufType type : kAll) EXPECT_EQ(RoundTrip(type, zeros), zeros) << InfoOf(type).name;
  EXPECT_EQ(FindGgufType("tq1_0")->type, GgufType::kTQ1_0);
  EXPECT_EQ(FindGgufType("q4_0"), nullptr);
  EXPECT_EQ(FindGgufType(2), nullptr);
  EXPECT_EQ(FindGgufType(36), nullptr);
  EXPECT_EQ(GgufBytes(GgufType::kTQ1_0, 1024), 4 * 54);
}

}  // namespace
}  // namespace tritter
