// Ternary products with AVX-512 VNNI. Call only where the CPU has avx512f and avx512vnni.
#pragma once

#include <cstdint>

#include "kernels/arranged_activations.h"

namespace tritter {

// See TernaryGemmFn; uses KernelScratch().
void TernaryGemmAvx512Vnni(const uint8_t* tiled, int64_t rows, int64_t cols,
                           const ArrangedActivations& x, int32_t* y, int64_t y_stride,
                           int64_t first_block, int64_t end_block);

}  // namespace tritter
