#include "kernels/training_ops.h"

namespace tritter {

extern const TrainingOps kBaselineTrainingOps;
#if defined(__x86_64__)
extern const TrainingOps kAvx2TrainingOps;
extern const TrainingOps kAvx512TrainingOps;
#endif

std::vector<const TrainingOps*> SupportedTrainingOps() {
  std::vector<const TrainingOps*> ops = {&kBaselineTrainingOps};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) ops.push_back(&kAvx2TrainingOps);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    ops.push_back(&kAvx512TrainingOps);
  }
#endif
  return ops;
}

namespace {
const TrainingOps& Best() {
  static const TrainingOps* const best = SupportedTrainingOps().back();
  return *best;
}
}  // namespace

void RmsNormBackwardRows(const float* x, const float* w, const float* dy, float eps, int64_t rows,
                         int64_t n, float* dx, float* dw) {
  Best().rms_norm_backward_rows(x, w, dy, eps, rows, n, dx, dw);
}
void LayerNormBackwardRows(const float* x, const float* w, const float* dy, float eps, int64_t rows,
                           int64_t n, float* dx, float* dw, float* db) {
  Best().layer_norm_backward_rows(x, w, dy, eps, rows, n, dx, dw, db);
}
void QuantiseWeightRows(const float* w, int64_t rows, int64_t cols, bool per_row, int8_t* q,
                        float* scales) {
  Best().quantise_weight_rows(w, rows, cols, per_row, q, scales);
}
void QuantiseByThreshold(const float* w, int64_t rows, int64_t cols, bool per_row, int8_t* q) {
  Best().quantise_by_threshold(w, rows, cols, per_row, q);
}
void DotCodeRows(const int8_t* codes, const float* x, int64_t rows, int64_t cols, float* sums) {
  Best().dot_code_rows(codes, x, rows, cols, sums);
}
void DequantiseCodes(const int8_t* codes, const float* inv, bool per_row, int64_t rows, int64_t n,
                     float* y) {
  Best().dequantise_codes(codes, inv, per_row, rows, n, y);
}
void ApplyScalesRows(const int32_t* acc, const float* scales, bool per_row, const float* inv,
                     int64_t tokens, int64_t rows, float* y) {
  Best().apply_scales_rows(acc, scales, per_row, inv, tokens, rows, y);
}
void ApplyScalesFloatRows(const float* acc, const float* scales, bool per_row, const float* inv,
                          int64_t tokens, int64_t rows, float* y) {
  Best().apply_scales_float_rows(acc, scales, per_row, inv, tokens, rows, y);
}
void Relu2MulBackward(const float* gate, const float* up, const float* dh, int64_t n, float* dgate,
                      float* dup) {
  Best().relu2_mul_backward(gate, up, dh, n, dgate, dup);
}
double SoftmaxCrossEntropyRows(float* logits, const int64_t* targets, const float* weights,
                               float grad_scale, double z_loss, int64_t tokens,
                               int64_t vocabulary) {
  return Best().softmax_cross_entropy_rows(logits, targets, weights, grad_scale, z_loss, tokens,
                                           vocabulary);
}
double SumSquares(const float* x, int64_t n) { return Best().sum_squares(x, n); }
void AdamWRows(const AdamWStep& step, const float* gradient, int64_t n, float* w, float* m,
               float* v, float* average) {
  Best().adamw_rows(step, gradient, n, w, m, v, average);
}

}  // namespace tritter
