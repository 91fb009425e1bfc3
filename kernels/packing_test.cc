#include "kernels/packing.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace tritter {
namespace {

std::vector<int8_t> RandomTernary(int64_t n, std::mt19937* rng) {
  std::vector<int8_t> q(n);
  for (int8_t& v : q) v = static_cast<int8_t>(static_cast<int>((*rng)() % 3) - 1);
  return q;
}

std::vector<uint8_t> Logical(const std::vector<int8_t>& q, int64_t rows, int64_t cols) {
  std::vector<uint8_t> out(rows * LogicalRowBytes(cols));
  PackLogical(q.data(), rows, cols, out.data());
  return out;
}

std::vector<uint8_t> Tiled(const std::vector<uint8_t>& logical, int64_t rows, int64_t cols) {
  std::vector<uint8_t> out(TiledBytes(rows, cols), 0xFF);
  LogicalToTiled(logical.data(), rows, cols, out.data());
  return out;
}

TEST(Packing, LogicalGoldenVector) {
  // Two rows of five: -1 0 1 1 -1 and 1 1 1 0 0, i.e. codes 0 1 2 2 0 and 2 2 2 1 1, least
  // significant pair first, rows padded with code 1.
  const std::vector<int8_t> q = {-1, 0, 1, 1, -1, 1, 1, 1, 0, 0};
  EXPECT_EQ(Logical(q, 2, 5),
            (std::vector<uint8_t>{0b10'10'01'00, 0b01'01'01'00, 0b01'10'10'10, 0b01'01'01'01}));
}

TEST(Packing, TiledGoldenVector) {
  // Row 1 of a 2 x 18 matrix: +1 in columns 1, 6 and 15, -1 in column 17; row 0 is zero.
  std::vector<int8_t> q(36, 0);
  q[18 + 1] = q[18 + 6] = q[18 + 15] = 1;
  q[18 + 17] = -1;
  std::vector<uint8_t> want(128, 0x55);
  want[4 + 1] = 0b01'01'01'10;  // columns 1, 5, 9, 13
  want[4 + 2] = 0b01'01'10'01;  // columns 2, 6, 10, 14
  want[4 + 3] = 0b10'01'01'01;  // columns 3, 7, 11, 15
  want[64 + 4 + 1] = 0b01'01'01'00;
  EXPECT_EQ(Tiled(Logical(q, 2, 18), 2, 18), want);
}

TEST(Packing, TiledPlacesEveryColumnWhereTheFormatSays) {
  const int64_t rows = 37, cols = 53;
  std::mt19937 rng(7);
  const std::vector<int8_t> q = RandomTernary(rows * cols, &rng);
  const std::vector<uint8_t> tiled = Tiled(Logical(q, rows, cols), rows, cols);
  const int64_t col_tiles = RoundUp(cols, kTileCols) / kTileCols;
  for (int64_t r = 0; r < RoundUp(rows, kTileRows); ++r) {
    for (int64_t c = 0; c < col_tiles * kTileCols; ++c) {
      const uint8_t byte = tiled[(r / 16 * col_tiles + c / 16) * 64 + r % 16 * 4 + c % 4];
      const int want = r < rows && c < cols ? q[r * cols + c] + 1 : 1;
      ASSERT_EQ((byte >> (2 * (c % 16 / 4))) & 3, want) << r << " " << c;
    }
  }
}

TEST(Packing, RoundTripsForRandomShapes) {
  std::mt19937 rng(1);
  for (int i = 0; i < 2000; ++i) {
    const int64_t rows = 1 + rng() % 50, cols = 1 + rng() % 70;
    const std::vector<int8_t> q = RandomTernary(rows * cols, &rng);
    const std::vector<uint8_t> logical = Logical(q, rows, cols);
    std::vector<int8_t> back(q.size());
    int64_t bad = -1;
    ASSERT_TRUE(UnpackLogical(logical.data(), rows, cols, back.data(), &bad));
    ASSERT_EQ(back, q);
    const std::vector<uint8_t> tiled = Tiled(logical, rows, cols);
    ASSERT_EQ(FindInvalidTiled(tiled.data(), rows, cols), -1) << rows << " x " << cols;
    std::vector<uint8_t> logical_back(logical.size());
    TiledToLogical(tiled.data(), rows, cols, logical_back.data());
    ASSERT_EQ(logical_back, logical) << rows << " x " << cols;
  }
}

TEST(Packing, UnpackRefusesCodeThreeAndWrongPadding) {
  const std::vector<uint8_t> good = Logical(std::vector<int8_t>(2 * 6, 0), 2, 6);
  std::vector<int8_t> q(12);
  for (size_t byte = 0; byte < good.size(); ++byte) {
    for (int pair = 0; pair < 4; ++pair) {
      std::vector<uint8_t> bytes = good;
      bytes[byte] |= 3 << (2 * pair);
      int64_t bad = -1;
      EXPECT_FALSE(UnpackLogical(bytes.data(), 2, 6, q.data(), &bad));
      EXPECT_EQ(bad, static_cast<int64_t>(byte));
    }
  }
  std::vector<uint8_t> padding = good;
  padding[1] &= 0x3F;  // last pair of row 0 becomes code 0
  int64_t bad = -1;
  EXPECT_FALSE(UnpackLogical(padding.data(), 2, 6, q.data(), &bad));
  EXPECT_EQ(bad, 1);
}

TEST(Packing, FindInvalidTiledFindsEveryWrongPair) {
  const int64_t rows = 19, cols = 21;
  const std::vector<uint8_t> good =
      Tiled(Logical(std::vector<int8_t>(rows * cols, 0), rows, cols), rows, cols);
  const int64_t col_tiles = 2;
  for (int64_t at = 0; at < static_cast<int64_t>(good.size()); ++at) {
    for (int pair = 0; pair < 4; ++pair) {
      const int64_t tile = at / 64;
      const int64_t row = tile / col_tiles * 16 + at % 64 / 4;
      const int64_t col = tile % col_tiles * 16 + 4 * pair + at % 4;
      const bool real = row < rows && col < cols;
      for (int code = 0; code < 4; ++code) {
        std::vector<uint8_t> bytes = good;
        bytes[at] = static_cast<uint8_t>((bytes[at] & ~(3 << (2 * pair))) | code << (2 * pair));
        const bool valid = real ? code != 3 : code == 1;
        ASSERT_EQ(FindInvalidTiled(bytes.data(), rows, cols), valid ? -1 : at)
            << row << " " << col << " " << code;
      }
    }
  }
}

}  // namespace
}  // namespace tritter
