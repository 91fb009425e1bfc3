// Matrix products of training: C (+)= A B with FP32 sums. Operands are read where they lie and are
// converted while they are packed into cache blocks (int8 codes to numbers, a factor per inner
// index, rounding to BF16), so that no dequantised or transposed copy of a matrix is ever made.
// Blocking after Goto and van de Geijn 2008 ("Anatomy of high-performance matrix multiplication").
//
// Every element of C is a sum in the order of k, in blocks of kGemmBlockK: it does not depend on
// the other rows and columns, so that threads may divide C in any way and the bits stay. Between
// instruction sets they may differ (fused multiply-add).
#pragma once

#include <cstdint>
#include <vector>

namespace tritter {

// A matrix in memory: rows of `stride` elements. One of f32 and i8 is set.
struct GemmOperand {
  const float* f32 = nullptr;
  const int8_t* i8 = nullptr;
  int64_t stride = 0;
  // false: A is stored [m, k], B [k, n]. true: A is stored [k, m], B [n, k].
  bool transposed = false;
  // Factor of every k, or none. A only, f32 only.
  const float* k_scale = nullptr;
};

struct GemmOutput {
  float* c = nullptr;  // [m, n]
  int64_t stride = 0;
  bool accumulate = false;         // add to what is there
  const float* n_scale = nullptr;  // factor of every column of A B, or none
};

enum class GemmType {
  kFp32,
  // Operands rounded to BF16 (half to even), products and sums in FP32. Without the CPU's own
  // instructions the same products are formed in FP32, slower than kFp32. NaN stays NaN.
  kBf16,
};

inline constexpr int64_t kGemmBlockK = 256;
// Floats of scratch that one call needs, for every shape and instruction set.
inline constexpr int64_t kGemmScratchFloats = (336 + 3072) * kGemmBlockK + 64;

// C [m, n] from A [m, k] and B [k, n], on the calling thread. scratch is 64-byte aligned.
void Gemm(GemmType type, int64_t m, int64_t n, int64_t k, const GemmOperand& a,
          const GemmOperand& b, const GemmOutput& c, float* scratch);
// C may be divided between threads anywhere; at multiples of these, no work is done twice at the
// border.
int64_t GemmTileRows();
int64_t GemmTileColumns();
// Whether this CPU has BF16 dot products of its own.
bool HasBf16Gemm();

// The functions above for one instruction set; those above call the best one this CPU runs. For
// tests and logs.
struct GemmKernels {
  const char* name;  // "baseline", "avx2", "avx512", "avx512_bf16"
  int64_t tile_rows, tile_columns;
  void (*gemm)(GemmType type, int64_t m, int64_t n, int64_t k, const GemmOperand& a,
               const GemmOperand& b, const GemmOutput& c, float* scratch);
};
std::vector<const GemmKernels*> SupportedGemmKernels();  // slowest first

}  // namespace tritter
