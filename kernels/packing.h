// Ternary codes, packed. Codes: -1 -> 0, 0 -> 1, +1 -> 2; 3 is invalid.
//
// Logical form (canonical; conversions and test vectors): four codes per byte, least significant
// pair first, consecutive elements of one row, rows padded with code 1 to a whole byte.
//
// Tiled form "tile16x16-v1" (what files store and kernels read): the matrix padded with code 1 to
// multiples of 16 rows and 16 columns, cut into tiles of 16 x 16, tiles in row-block-major order
// (all tiles of rows 0-15 first, by column). A tile is 64 bytes = 16 lanes (rows) of 4 bytes. Byte
// j of lane r holds columns {j, 4+j, 8+j, 12+j} of the tile in its bit pairs 0..3: shifting the
// whole 64 bytes right by 2t and masking with 3 gives, for every row, the codes of columns
// 4t..4t+3, the operand layout of vpdpbusd (one load feeds four).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tritter {

inline constexpr int kTileRows = 16;
inline constexpr int kTileCols = 16;
inline constexpr size_t kTileBytes = 64;
inline constexpr char kTile16x16Name[] = "tile16x16-v1";

inline int64_t LogicalRowBytes(int64_t cols) { return (cols + 3) / 4; }
inline int64_t RoundUp(int64_t n, int64_t m) { return (n + m - 1) / m * m; }
inline int64_t TiledBytes(int64_t rows, int64_t cols) {
  return RoundUp(rows, kTileRows) / kTileRows * (RoundUp(cols, kTileCols) / kTileCols) * 64;
}

// q [rows, cols] in {-1, 0, 1} -> logical [rows, LogicalRowBytes(cols)].
void PackLogical(const int8_t* q, int64_t rows, int64_t cols, uint8_t* logical);
// Returns false when a code 3 is met in a real (not padding) position, or padding is not code 1;
// *bad_byte is its offset.
bool UnpackLogical(const uint8_t* logical, int64_t rows, int64_t cols, int8_t* q,
                   int64_t* bad_byte);
// Bit-exact inverses of each other. `tiled` has TiledBytes(rows, cols).
void LogicalToTiled(const uint8_t* logical, int64_t rows, int64_t cols, uint8_t* tiled);
void TiledToLogical(const uint8_t* tiled, int64_t rows, int64_t cols, uint8_t* logical);
// First byte of `tiled` that holds a code 3 or non-1 padding; -1 when there is none.
int64_t FindInvalidTiled(const uint8_t* tiled, int64_t rows, int64_t cols);

}  // namespace tritter
