#include "kernels/reference/ternary_gemm_scalar.h"

#include "kernels/packing.h"

namespace tritter {

void TernaryGemmScalar(const uint8_t* tiled, int64_t rows, int64_t cols, const int8_t* x,
                       int64_t x_stride, int64_t tokens, int32_t* y, int64_t y_stride,
                       int64_t first_block, int64_t end_block) {
  const int64_t col_tiles = RoundUp(cols, kTileCols) / kTileCols;
  for (int64_t block = first_block; block < end_block; ++block) {
    for (int lane = 0; lane < kTileRows; ++lane) {
      const int64_t row = block * kTileRows + lane;
      for (int64_t token = 0; token < tokens; ++token) {
        int32_t sum = 0;
        for (int64_t c = 0; row < rows && c < cols; ++c) {
          const int64_t tile = block * col_tiles + c / kTileCols;
          const int64_t in_tile = c % kTileCols;
          const uint8_t byte =
              tiled[tile * static_cast<int64_t>(kTileBytes) + 4 * lane + in_tile % 4];
          const int code = (byte >> (2 * (in_tile / 4))) & 3;
          sum += (code - 1) * x[token * x_stride + c];
        }
        y[token * y_stride + row] = sum;
      }
    }
  }
}

}  // namespace tritter
