// Ternary products with AVX-512 VNNI. Call only where the CPU has avx512f and avx512vnni.
#pragma once

#include <cstdint>

namespace tritter {

// See TernaryGemmFn; uses KernelScratch().
void TernaryGemmAvx512Vnni(const uint8_t* tiled, int64_t rows, int64_t cols, const int8_t* x,
                           int64_t x_stride, int64_t tokens, int32_t* y, int64_t y_stride,
                           int64_t first_block, int64_t end_block);

}  // namespace tritter
