#include "kernels/cuda/ternary_layout.h"

#include <array>
#include <random>

#include "gtest/gtest.h"
#include "kernels/packing.h"

namespace tritter::cuda {
namespace {

struct Matrix {
  Matrix(int64_t rows, int64_t cols, unsigned seed) : rows(rows), cols(cols) {
    std::mt19937 random(seed);
    for (int64_t i = 0; i < rows * cols; ++i)
      codes.push_back(static_cast<int8_t>(static_cast<int>(random() % 3) - 1));
    std::vector<uint8_t> logical(static_cast<size_t>(rows * LogicalRowBytes(cols)));
    PackLogical(codes.data(), rows, cols, logical.data());
    tiled.resize(static_cast<size_t>(TiledBytes(rows, cols)));
    LogicalToTiled(logical.data(), rows, cols, tiled.data());
    for (int64_t r = 0; r < rows; ++r) scales.push_back(static_cast<float>(r + seed));
  }
  int64_t rows, cols;
  std::vector<int8_t> codes;
  std::vector<uint8_t> tiled;
  std::vector<float> scales;
};

// The code at (row, col), -1 … 1, of the layout as its page describes it.
int CodeAt(const GpuTernaryBuilder& b, int64_t row, int64_t col, int64_t cols) {
  const int64_t tile = row / 16 * ((cols + 127) / 128) + col / 128, in_tile = col % 128;
  const int64_t lane = row % 8 * 4 + in_tile / 32;
  const int64_t word = (row % 16 >= 8 ? 2 : 0) + (in_tile % 32 >= 16 ? 1 : 0);
  const int64_t c = in_tile % 16;  // column 4m + byte of the word
  return static_cast<int>(b.words()[static_cast<size_t>(tile * 128 + lane * 4 + word)] >>
                              (8 * (c % 4) + 2 * (c / 4)) &
                          3) -
         1;
}

TEST(GpuTernaryBuilder, PlacesEveryCodeOfEveryPartAndPadsWithZeros) {
  for (const auto& [first, second, cols] : {std::array<int64_t, 3>{16, 16, 128},
                                            {5, 1, 3},
                                            {40, 20, 40},
                                            {33, 70, 300},
                                            {8, 120, 513}}) {
    const Matrix a(first, cols, 3), b(second, cols, 4);
    const int64_t rows = first + second;
    GpuTernaryBuilder builder(rows, cols);
    builder.Add(a.tiled.data(), first, a.scales.data(), true, 0);
    builder.Add(b.tiled.data(), second, b.scales.data(), false, first);
    ASSERT_EQ(static_cast<int64_t>(builder.words().size()), GpuTernaryWords(rows, cols));
    for (int64_t r = 0; r < GpuRowBlocks(rows) * 16; ++r) {
      const Matrix* const from = r < first ? &a : r < rows ? &b : nullptr;
      const int64_t at = r < first ? r : r - first;
      for (int64_t c = 0; c < GpuColTiles(cols) * 128; ++c) {
        const int expected = from != nullptr && c < cols ? from->codes[at * cols + c] : 0;
        ASSERT_EQ(CodeAt(builder, r, c, cols), expected) << r << ", " << c;
      }
      const float scale = from == nullptr ? 0 : from == &a ? a.scales[at] : b.scales[0];
      EXPECT_EQ(builder.scales()[static_cast<size_t>(r)], scale);
    }
  }
}

TEST(GpuTernaryBuilder, HalvesPutRowsThatBelongTogetherEightApart) {
  for (const auto& [rows, cols] : {std::array<int64_t, 2>{8, 16}, {13, 40}, {72, 200}}) {
    const Matrix gate(rows, cols, 5), up(rows, cols, 6);
    GpuTernaryBuilder builder(GpuHalvesRows(rows), cols);
    builder.AddHalf(gate.tiled.data(), rows, gate.scales.data(), true, 0);
    builder.AddHalf(up.tiled.data(), rows, up.scales.data(), true, 1);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = r / 8 * 16 + r % 8;
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_EQ(CodeAt(builder, at, c, cols), gate.codes[r * cols + c]);
        ASSERT_EQ(CodeAt(builder, at + 8, c, cols), up.codes[r * cols + c]);
      }
      EXPECT_EQ(builder.scales()[static_cast<size_t>(at)], gate.scales[r]);
      EXPECT_EQ(builder.scales()[static_cast<size_t>(at + 8)], up.scales[r]);
    }
  }
}

}  // namespace
}  // namespace tritter::cuda
