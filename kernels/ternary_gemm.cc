#include "kernels/ternary_gemm.h"

#include <cstdlib>
#include <cstring>

#include "kernels/cpu/ternary_avx2.h"
#include "kernels/cpu/ternary_avx512_vnni.h"
#include "kernels/reference/ternary_gemm_scalar.h"

namespace tritter {
namespace {

constexpr TernaryKernel kScalar = {"scalar", &TernaryGemmScalar};
constexpr TernaryKernel kAvx2 = {"avx2", &TernaryGemmAvx2};
constexpr TernaryKernel kAvx512Vnni = {"avx512_vnni", &TernaryGemmAvx512Vnni};

}  // namespace

const TernaryKernel& ScalarTernaryKernel() { return kScalar; }

std::vector<const TernaryKernel*> SupportedTernaryKernels() {
  std::vector<const TernaryKernel*> kernels = {&kScalar};
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) kernels.push_back(&kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"))
    kernels.push_back(&kAvx512Vnni);
  return kernels;
}

const TernaryKernel& BestTernaryKernel() {
  static const TernaryKernel* const best = [] {
    const std::vector<const TernaryKernel*> kernels = SupportedTernaryKernels();
    const char* wanted = std::getenv("TRITTER_KERNEL");
    for (const TernaryKernel* kernel : kernels) {
      if (wanted != nullptr && std::strcmp(wanted, kernel->name) == 0) return kernel;
    }
    return kernels.back();
  }();
  return *best;
}

std::string CpuFeatures() {
  __builtin_cpu_init();
  std::string features;
  const auto add = [&features](bool there, const char* name) {
    if (!there) return;
    if (!features.empty()) features += ' ';
    features += name;
  };
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512vnni"), "avx512_vnni");
  add(__builtin_cpu_supports("avx512bf16"), "avx512_bf16");
  return features;
}

}  // namespace tritter
