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

void ArrangeToken(const int8_t* x, int64_t columns, int64_t token, int64_t tokens, int8_t* arranged,
                  int32_t* sums) {
  int64_t group = token * TokenGroups(tokens) / tokens;
  if (FirstOfGroup(tokens, group + 1) <= token) ++group;
  const int64_t first = FirstOfGroup(tokens, group), size = FirstOfGroup(tokens, group + 1) - first;
  int8_t* out = arranged + first * columns + 4 * (token - first);
  int32_t sum = 0;
  for (int64_t c = 0; c < columns; ++c) sum += x[c];
  sums[token] = sum;
  for (int64_t c = 0; c < columns; c += 4, out += 4 * size) std::memcpy(out, x + c, 4);
}

void MultiplyRows(const TernaryKernel& kernel, const uint8_t* tiled, int64_t rows, int64_t cols,
                  const int8_t* x, int64_t x_stride, int64_t tokens, int32_t* y, int64_t y_stride,
                  int64_t first_block, int64_t end_block) {
  const int64_t columns = (cols + 15) / 16 * 16;
  std::vector<int8_t> arranged(static_cast<size_t>(tokens * columns)),
      row(static_cast<size_t>(columns), 0);
  std::vector<int32_t> sums(static_cast<size_t>(tokens));
  for (int64_t t = 0; t < tokens; ++t) {
    std::memcpy(row.data(), x + t * x_stride, static_cast<size_t>(cols));
    ArrangeToken(row.data(), columns, t, tokens, arranged.data(), sums.data());
  }
  kernel.gemm(tiled, rows, cols, {arranged.data(), sums.data(), tokens}, y, y_stride, first_block,
              end_block);
}

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
