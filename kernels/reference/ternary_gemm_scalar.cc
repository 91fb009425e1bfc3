#include "kernels/reference/ternary_gemm_scalar.h"

#include "kernels/packing.h"

namespace tritter {

void TernaryGemmScalar(const uint8_t* tiled, int64_t rows, int64_t cols,
                       const ArrangedActivations& x, int32_t* y, int64_t y_stride,
                       int64_t first_block, int64_t end_block) {
  const int64_t columns = RoundUp(cols, kTileCols), col_tiles = columns / kTileCols;
  for (int64_t g = 0; g < TokenGroups(x.tokens); ++g) {
    const int64_t first = FirstOfGroup(x.tokens, g), size = FirstOfGroup(x.tokens, g + 1) - first;
    const int8_t* const group = x.x + first * columns;
    for (int64_t row = first_block * kTileRows; row < end_block * kTileRows; ++row) {
      const int64_t block = row / kTileRows, lane = row % kTileRows;
      for (int64_t t = 0; t < size; ++t) {
        int32_t sum = 0;
        for (int64_t c = 0; row < rows && c < cols; ++c) {
          const int64_t tile = block * col_tiles + c / kTileCols;
          const int64_t in_tile = c % kTileCols;
          const uint8_t byte =
              tiled[tile * static_cast<int64_t>(kTileBytes) + 4 * lane + in_tile % 4];
          const int code = (byte >> (2 * (in_tile / 4))) & 3;
          sum += (code - 1) * group[(c / 4 * size + t) * 4 + c % 4];
        }
        y[(first + t) * y_stride + row - first_block * kTileRows] = sum;
      }
    }
  }
}

}  // namespace tritter
