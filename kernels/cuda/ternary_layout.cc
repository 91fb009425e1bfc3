#include "kernels/cuda/ternary_layout.h"

#include <cstring>

#include "kernels/packing.h"

namespace tritter::cuda {

void GpuTernaryBuilder::PlaceRow(const uint8_t* tiled, int64_t from, int64_t to) {
  const int64_t groups = RoundUp(cols_, kTileCols) / kTileCols;
  const uint8_t* lane =
      tiled + from / kTileRows * groups * static_cast<int64_t>(kTileBytes) + from % kTileRows * 4;
  for (int64_t group = 0; group < groups; ++group) {
    std::memcpy(&words_[static_cast<size_t>(GpuWordIndex(to, group, GpuColTiles(cols_)))],
                lane + group * static_cast<int64_t>(kTileBytes), 4);
  }
}

void GpuTernaryBuilder::Add(const uint8_t* tiled, int64_t rows, const float* scales, bool per_row,
                            int64_t first) {
  for (int64_t r = 0; r < rows; ++r) {
    PlaceRow(tiled, r, first + r);
    scales_[static_cast<size_t>(first + r)] = scales[per_row ? r : 0];
  }
}

void GpuTernaryBuilder::AddHalf(const uint8_t* tiled, int64_t rows, const float* scales,
                                bool per_row, int64_t half) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t to = r / 8 * 16 + r % 8 + 8 * half;
    PlaceRow(tiled, r, to);
    scales_[static_cast<size_t>(to)] = scales[per_row ? r : 0];
  }
}

}  // namespace tritter::cuda
