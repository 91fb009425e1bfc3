#include "kernels/packing.h"

#include <cstring>

namespace tritter {
namespace {

constexpr uint8_t kPadByte = 0x55;  // four times code 1

// Transposes the 4 x 4 matrix of bit pairs in a word: pair 4a + b and pair 4b + a change places.
// The 16 codes of one row of a tile are such a matrix in both forms (logical: byte t holds columns
// 4t..4t+3; tiled: byte j holds columns j, 4+j, 8+j, 12+j), so the same involution converts in both
// directions.
uint32_t TransposePairs(uint32_t x) {
  uint32_t t = (x ^ (x >> 6)) & 0x00CC00CCu;
  x ^= t ^ (t << 6);
  t = (x ^ (x >> 12)) & 0x0000F0F0u;
  return x ^ t ^ (t << 12);
}

uint32_t LoadLittle32(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 |
         static_cast<uint32_t>(p[2]) << 16 | static_cast<uint32_t>(p[3]) << 24;
}

void StoreLittle32(uint32_t v, uint8_t* p) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<uint8_t>(v >> (8 * i));
}

// Bit pairs of a byte that hold code 3, as 01 per pair.
inline uint8_t ThreesIn(uint8_t byte) { return byte & (byte >> 1) & 0x55; }

// Mask of the pairs of tiled byte j that lie at or beyond column `real_cols` (0..16) of their tile.
uint8_t ColumnPadMask(int j, int64_t real_cols) {
  uint8_t mask = 0;
  for (int t = 0; t < 4; ++t) {
    if (4 * t + j >= real_cols) mask |= static_cast<uint8_t>(3 << (2 * t));
  }
  return mask;
}

int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace

void PackLogical(const int8_t* q, int64_t rows, int64_t cols, uint8_t* logical) {
  const int64_t row_bytes = LogicalRowBytes(cols);
  for (int64_t r = 0; r < rows; ++r) {
    const int8_t* row = q + r * cols;
    uint8_t* out = logical + r * row_bytes;
    for (int64_t b = 0; b < row_bytes; ++b) {
      uint8_t byte = 0;
      for (int j = 0; j < 4; ++j) {
        const int64_t c = 4 * b + j;
        const int code = c < cols ? row[c] + 1 : 1;
        byte |= static_cast<uint8_t>((code & 3) << (2 * j));
      }
      out[b] = byte;
    }
  }
}

bool UnpackLogical(const uint8_t* logical, int64_t rows, int64_t cols, int8_t* q,
                   int64_t* bad_byte) {
  const int64_t row_bytes = LogicalRowBytes(cols);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < row_bytes; ++b) {
      const int64_t at = r * row_bytes + b;
      for (int j = 0; j < 4; ++j) {
        const int64_t c = 4 * b + j;
        const int code = (logical[at] >> (2 * j)) & 3;
        if (c < cols ? code == 3 : code != 1) {
          *bad_byte = at;
          return false;
        }
        if (c < cols) q[r * cols + c] = static_cast<int8_t>(code - 1);
      }
    }
  }
  return true;
}

void LogicalToTiled(const uint8_t* logical, int64_t rows, int64_t cols, uint8_t* tiled) {
  const int64_t row_bytes = LogicalRowBytes(cols);
  const int64_t row_blocks = RoundUp(rows, kTileRows) / kTileRows;
  const int64_t col_tiles = RoundUp(cols, kTileCols) / kTileCols;
  for (int64_t block = 0; block < row_blocks; ++block) {
    for (int64_t tile = 0; tile < col_tiles; ++tile) {
      for (int lane = 0; lane < kTileRows; ++lane, tiled += 4) {
        const int64_t row = block * kTileRows + lane;
        uint8_t bytes[4] = {kPadByte, kPadByte, kPadByte, kPadByte};
        if (row < rows) {
          std::memcpy(bytes, logical + row * row_bytes + 4 * tile,
                      static_cast<size_t>(Min(4, row_bytes - 4 * tile)));
        }
        StoreLittle32(TransposePairs(LoadLittle32(bytes)), tiled);
      }
    }
  }
}

void TiledToLogical(const uint8_t* tiled, int64_t rows, int64_t cols, uint8_t* logical) {
  const int64_t row_bytes = LogicalRowBytes(cols);
  const int64_t col_tiles = RoundUp(cols, kTileCols) / kTileCols;
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t* lane = tiled + row / kTileRows * col_tiles * static_cast<int64_t>(kTileBytes) +
                          row % kTileRows * 4;
    for (int64_t tile = 0; tile < col_tiles; ++tile) {
      uint8_t bytes[4];
      StoreLittle32(TransposePairs(LoadLittle32(lane + tile * static_cast<int64_t>(kTileBytes))),
                    bytes);
      std::memcpy(logical + row * row_bytes + 4 * tile, bytes,
                  static_cast<size_t>(Min(4, row_bytes - 4 * tile)));
    }
  }
}

int64_t FindInvalidTiled(const uint8_t* tiled, int64_t rows, int64_t cols) {
  const int64_t row_blocks = RoundUp(rows, kTileRows) / kTileRows;
  const int64_t col_tiles = RoundUp(cols, kTileCols) / kTileCols;
  for (int64_t block = 0; block < row_blocks; ++block) {
    const int64_t real_rows = Min(kTileRows, rows - block * kTileRows);
    for (int64_t tile = 0; tile < col_tiles; ++tile) {
      const int64_t real_cols = Min(kTileCols, cols - tile * kTileCols);
      const int64_t at = (block * col_tiles + tile) * static_cast<int64_t>(kTileBytes);
      const uint8_t* bytes = tiled + at;
      uint8_t threes = 0;
      for (size_t i = 0; i < kTileBytes; ++i) threes |= ThreesIn(bytes[i]);
      const bool padded = real_rows < kTileRows || real_cols < kTileCols;
      if (threes == 0 && !padded) continue;
      for (int i = 0; i < static_cast<int>(kTileBytes); ++i) {
        const uint8_t pad = i / 4 < real_rows ? ColumnPadMask(i % 4, real_cols) : 0xFF;
        if (ThreesIn(bytes[i]) != 0 || ((bytes[i] ^ kPadByte) & pad) != 0) return at + i;
      }
    }
  }
  return -1;
}

}  // namespace tritter
