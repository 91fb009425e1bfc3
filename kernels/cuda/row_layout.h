// How the rows of embedding and head lie in a GPU's memory.
#pragma once

#include <cstdint>

namespace tritter::cuda {

// Rows are `pitch` bytes apart, padded with zeros (INT4: with codes of zero) so that whole blocks
// can be read: of 16 columns, of 128 for INT8 and INT4.
enum class RowType { kF32, kBf16, kInt8, kInt4 };
constexpr int64_t GpuRowPitch(RowType type, int64_t cols) {
  const int64_t sixteens = (cols + 15) / 16 * 16, blocks = (cols + 127) / 128;
  return type == RowType::kF32    ? sixteens * 4
         : type == RowType::kBf16 ? sixteens * 2
         : type == RowType::kInt8 ? blocks * 128
                                  : blocks * 64;
}

}  // namespace tritter::cuda
