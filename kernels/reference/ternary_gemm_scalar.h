// The scalar reference of the ternary product: the truth that every other kernel equals bit for
// bit.
#pragma once

#include <cstdint>

#include "kernels/arranged_activations.h"

namespace tritter {

// See TernaryGemmFn. A code 3, which no valid file holds, counts as +2.
void TernaryGemmScalar(const uint8_t* tiled, int64_t rows, int64_t cols,
                       const ArrangedActivations& x, int32_t* y, int64_t y_stride,
                       int64_t first_block, int64_t end_block);

}  // namespace tritter
