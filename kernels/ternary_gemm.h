// Exact products of packed ternary weights with int8 activations. Every kernel is bit-exact with
// the scalar reference.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/arranged_activations.h"

namespace tritter {

// Puts row `token` (x of `columns` = padded columns) of `tokens` into its place in `arranged` and
// its sum into sums[token]. Tokens may be arranged by several threads.
void ArrangeToken(const int8_t* x, int64_t columns, int64_t token, int64_t tokens, int8_t* arranged,
                  int32_t* sums);

// y[t, r] = sum_c q[r, c] * x[t, c], exact int32 (|cols * 128| < 2^31).
// tiled: weights in form tile16x16-v1, cols columns; y [tokens, y_stride]: row r of block b goes to
// column 16 * (b - first_block) + r, so y_stride >= 16 * (end_block - first_block) (padding rows
// get 0). Blocks [first_block, end_block) of 16 rows are computed: threads split the work by
// blocks.
using TernaryGemmFn = void (*)(const uint8_t* tiled, int64_t rows, int64_t cols,
                               const ArrangedActivations& x, int32_t* y, int64_t y_stride,
                               int64_t first_block, int64_t end_block);

struct TernaryKernel {
  const char* name;  // "scalar", "avx2", "avx512_vnni"
  TernaryGemmFn gemm;
};

// The same from plain rows x [tokens, x_stride], x_stride >= cols; what is arranged takes memory.
void MultiplyRows(const TernaryKernel& kernel, const uint8_t* tiled, int64_t rows, int64_t cols,
                  const int8_t* x, int64_t x_stride, int64_t tokens, int32_t* y, int64_t y_stride,
                  int64_t first_block, int64_t end_block);

const TernaryKernel& ScalarTernaryKernel();
// Kernels that this CPU can run, slowest first; the last is the best.
std::vector<const TernaryKernel*> SupportedTernaryKernels();
// The best, or the one named by TRITTER_KERNEL when set and supported (a wrong name is ignored;
// mains refuse it at start).
const TernaryKernel& BestTernaryKernel();
std::string
CpuFeatures();  // e.g. "avx2 fma avx512f avx512_vnni avx512_bf16", for logs and worker identity

}  // namespace tritter
