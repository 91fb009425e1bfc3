// Exact products of packed ternary weights with int8 activations. Every kernel is bit-exact with
// the scalar reference.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tritter {

// y[t, r] = sum_c q[r, c] * x[t, c], exact int32 (|cols * 128| < 2^31).
// tiled: weights in form tile16x16-v1; x [tokens, x_stride] int8, x_stride >= RoundUp(cols, 16),
// padding zero; y [tokens, y_stride], y_stride >= RoundUp(rows, 16) (padding rows get 0). Rows
// [first_block, end_block) of 16 rows are computed: threads split the work by blocks.
using TernaryGemmFn = void (*)(const uint8_t* tiled, int64_t rows, int64_t cols, const int8_t* x,
                               int64_t x_stride, int64_t tokens, int32_t* y, int64_t y_stride,
                               int64_t first_block, int64_t end_block);

struct TernaryKernel {
  const char* name;  // "scalar", "avx2", "avx512_vnni"
  TernaryGemmFn gemm;
};

const TernaryKernel& ScalarTernaryKernel();
// Kernels that this CPU can run, slowest first; the last is the best.
std::vector<const TernaryKernel*> SupportedTernaryKernels();
// The best, or the one named by TRITTER_KERNEL when set and supported (a wrong name is ignored;
// mains refuse it at start).
const TernaryKernel& BestTernaryKernel();
std::string
CpuFeatures();  // e.g. "avx2 fma avx512f avx512_vnni avx512_bf16", for logs and worker identity

}  // namespace tritter
