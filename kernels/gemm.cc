#include "kernels/gemm.h"

namespace tritter {

extern const GemmKernels kBaselineGemm;
#if defined(__x86_64__)
extern const GemmKernels kAvx2Gemm;
extern const GemmKernels kAvx512Gemm;
extern const GemmKernels kAvx512Bf16Gemm;
#endif

std::vector<const GemmKernels*> SupportedGemmKernels() {
  std::vector<const GemmKernels*> kernels = {&kBaselineGemm};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) kernels.push_back(&kAvx2Gemm);
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512) kernels.push_back(&kAvx512Gemm);
  if (avx512 && __builtin_cpu_supports("avx512bf16")) kernels.push_back(&kAvx512Bf16Gemm);
#endif
  return kernels;
}

namespace {
const GemmKernels& Best() {
  static const GemmKernels* const best = SupportedGemmKernels().back();
  return *best;
}
}  // namespace

void Gemm(GemmType type, int64_t m, int64_t n, int64_t k, const GemmOperand& a,
          const GemmOperand& b, const GemmOutput& c, float* scratch) {
  Best().gemm(type, m, n, k, a, b, c, scratch);
}
int64_t GemmTileRows() { return Best().tile_rows; }
int64_t GemmTileColumns() { return Best().tile_columns; }
bool HasBf16Gemm() {
#if defined(__x86_64__)
  return &Best() == &kAvx512Bf16Gemm;
#else
  return false;
#endif
}

}  // namespace tritter
