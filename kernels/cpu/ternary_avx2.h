// Ternary products with AVX2. Call only where the CPU has avx2.
#pragma once

#include <cstdint>

#include "kernels/arranged_activations.h"

namespace tritter {

// See TernaryGemmFn.
void TernaryGemmAvx2(const uint8_t* tiled, int64_t rows, int64_t cols, const ArrangedActivations& x,
                     int32_t* y, int64_t y_stride, int64_t first_block, int64_t end_block);

}  // namespace tritter
