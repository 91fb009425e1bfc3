#include "kernels/training_attention.h"

namespace tritter {

extern const AttentionOps kBaselineAttentionOps;
#if defined(__x86_64__)
extern const AttentionOps kAvx2AttentionOps;
extern const AttentionOps kAvx512AttentionOps;
#endif

std::vector<const AttentionOps*> SupportedAttentionOps() {
  std::vector<const AttentionOps*> ops = {&kBaselineAttentionOps};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) ops.push_back(&kAvx2AttentionOps);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    ops.push_back(&kAvx512AttentionOps);
  }
#endif
  return ops;
}

namespace {
const AttentionOps& Best() {
  static const AttentionOps* const best = SupportedAttentionOps().back();
  return *best;
}
}  // namespace

int64_t AttentionScratch(int64_t length, int64_t d) {
  // Keys and values as rows and transposed with the sums of their gradients, padded; then the
  // tiles: queries, gradients of the output, results, and two of scores (training_attention_lanes).
  const int64_t dp = (d + 15) / 16 * 16, lp = (length + 15) / 16 * 16;
  return 5 * lp * dp + 64 * (3 * dp + 2 * 64);
}
void AttentionForward(const AttentionGroup& group, float* scratch, float* out, int64_t out_stride,
                      float* lse) {
  Best().forward(group, scratch, out, out_stride, lse);
}
void AttentionBackward(const AttentionGroup& group, const float* out, int64_t out_stride,
                       const float* lse, const float* dout, int64_t dout_stride, float* scratch,
                       float* dq, float* dk, float* dv, int64_t d_stride) {
  Best().backward(group, out, out_stride, lse, dout, dout_stride, scratch, dq, dk, dv, d_stride);
}

}  // namespace tritter
