// How ternary matrices lie in a GPU's memory: 16 rows x 128 columns a tile of 512 bytes, tiles by
// block of 16 rows, then by column, padded with code 1 (zero). A warp reads a tile with one 16-byte
// load a lane, and what lane 4g + t has read are its operands, of dp4a as of mma.m16n8k32:
//
//   word 0: row g,     columns 32t … 32t + 15      word 1: row g,     columns 32t + 16 … 32t + 31
//   word 2: row g + 8, columns 32t … 32t + 15      word 3: row g + 8, columns 32t + 16 … 32t + 31
//
// A word is a row of a tile of form tile16x16-v1 (kernels/packing.h): shifted right by 2m and
// masked, its bytes are the codes of columns 4m … 4m + 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tritter::cuda {

inline constexpr int kGpuTileRows = 16, kGpuTileCols = 128, kGpuTileWords = 128;
inline constexpr uint32_t kGpuPadWord = 0x55555555;

constexpr int64_t GpuRowBlocks(int64_t rows) { return (rows + kGpuTileRows - 1) / kGpuTileRows; }
constexpr int64_t GpuColTiles(int64_t cols) { return (cols + kGpuTileCols - 1) / kGpuTileCols; }
constexpr int64_t GpuTernaryWords(int64_t rows, int64_t cols) {
  return GpuRowBlocks(rows) * GpuColTiles(cols) * kGpuTileWords;
}
// One for each row, of padded rows too.
constexpr int64_t GpuTernaryScales(int64_t rows) { return GpuRowBlocks(rows) * kGpuTileRows; }
// Index of the word that holds columns 16 * group … of `row`.
constexpr int64_t GpuWordIndex(int64_t row, int64_t group, int64_t col_tiles) {
  const int64_t tile = row / kGpuTileRows * col_tiles + group / 8;
  const int64_t lane = row % 8 * 4 + group % 8 / 2, word = row % 16 / 8 * 2 + group % 2;
  return tile * kGpuTileWords + lane * 4 + word;
}

// Several matrices of one width become one matrix of `rows` rows, so that one product gives what
// all of them give: first row r of a part goes to row at(r).
class GpuTernaryBuilder {
 public:
  GpuTernaryBuilder(int64_t rows, int64_t cols)
      : cols_(cols),
        words_(static_cast<size_t>(GpuTernaryWords(rows, cols)), kGpuPadWord),
        scales_(static_cast<size_t>(GpuTernaryScales(rows)), 0.0f) {}

  // Rows one after the other from row `first`. tiled: form tile16x16-v1; scales: [rows], or [1]
  // when !per_row.
  void Add(const uint8_t* tiled, int64_t rows, const float* scales, bool per_row, int64_t first);
  // Row r goes to row 16 (r / 8) + r % 8 + 8 * half: gates (half 0) and ups (half 1) that belong
  // together meet in one thread.
  void AddHalf(const uint8_t* tiled, int64_t rows, const float* scales, bool per_row, int64_t half);

  const std::vector<uint32_t>& words() const { return words_; }
  const std::vector<float>& scales() const { return scales_; }

 private:
  void PlaceRow(const uint8_t* tiled, int64_t from, int64_t to);

  const int64_t cols_;
  std::vector<uint32_t> words_;
  std::vector<float> scales_;
};

// Rows of what AddHalf makes of two matrices of `rows` rows.
constexpr int64_t GpuHalvesRows(int64_t rows) { return (rows + 7) / 8 * 16; }

}  // namespace tritter::cuda
