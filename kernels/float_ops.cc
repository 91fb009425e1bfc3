#include "kernels/float_ops.h"

#include <cmath>

namespace tritter {

extern const FloatOps kBaselineFloatOps;
#if defined(__x86_64__)
extern const FloatOps kAvx2FloatOps;
extern const FloatOps kAvx512FloatOps;
#endif

std::vector<const FloatOps*> SupportedFloatOps() {
  std::vector<const FloatOps*> ops = {&kBaselineFloatOps};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    ops.push_back(&kAvx2FloatOps);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    ops.push_back(&kAvx512FloatOps);
  }
#endif
  return ops;
}

namespace {
const FloatOps& Best() {
  static const FloatOps* const best = SupportedFloatOps().back();
  return *best;
}
}  // namespace

void RmsNormRows(const float* x, const float* w, float eps, int64_t rows, int64_t n, float* y) {
  Best().rms_norm_rows(x, w, eps, rows, n, y);
}
void LayerNormRows(const float* x, const float* w, const float* b, float eps, int64_t rows,
                   int64_t n, float* y) {
  Best().layer_norm_rows(x, w, b, eps, rows, n, y);
}
void RmsNormQuantiseRows(const float* x, const float* w, float eps, int64_t rows, int64_t n,
                         int8_t* x8, int64_t x8_stride, float* inv) {
  Best().rms_norm_quantise_rows(x, w, eps, rows, n, x8, x8_stride, inv);
}
void QuantiseRows(const float* x, int64_t rows, int64_t n, int8_t* x8, int64_t x8_stride,
                  float* inv) {
  Best().quantise_rows(x, rows, n, x8, x8_stride, inv);
}
void DequantiseRow(const int32_t* acc, const float* scales, bool per_row, float inv, int64_t n,
                   float* y) {
  Best().dequantise_row(acc, scales, per_row, inv, n, y);
}
void DequantiseInto(const DequantiseTile& tile, bool add, float* y, int64_t y_stride) {
  Best().dequantise_into(tile, add, y, y_stride);
}
void DequantiseGated(const DequantiseTile& gate, const DequantiseTile& up, float* h,
                     int64_t h_stride) {
  Best().dequantise_gated(gate, up, h, h_stride);
}
void DequantiseSiluGated(const DequantiseTile& gate, const DequantiseTile& up, float* h,
                         int64_t h_stride) {
  Best().dequantise_silu_gated(gate, up, h, h_stride);
}
void AddRow(const float* x, int64_t n, float* y) { Best().add_row(x, n, y); }
void RopeInPlace(float* x, const float* cos, const float* sin, int64_t d) {
  Best().rope_in_place(x, cos, sin, d);
}
void Relu2Mul(const float* gate, const float* up, int64_t n, float* h) {
  Best().relu2_mul(gate, up, n, h);
}
void ExpRow(const float* x, int64_t n, float* y) { Best().exp_row(x, n, y); }
void AttendRow(const float* q, const float* k, const float* v, int64_t kv_stride, int64_t positions,
               int64_t d, float* scratch, float* out) {
  Best().attend_row(q, k, v, kv_stride, positions, d, scratch, out);
}
float DotRow(const float* a, const float* b, int64_t n) { return Best().dot_row(a, b, n); }
void DotRows(const float* w, int64_t rows, const float* x, int64_t x_stride, int64_t tokens,
             int64_t n, float* y, int64_t y_stride) {
  Best().dot_rows(w, rows, x, x_stride, tokens, n, y, y_stride);
}

void RopeTable(double theta, int64_t d, int64_t first_position, int64_t positions, float* cos,
               float* sin) {
  const int64_t half = d / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
    for (int64_t p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(first_position + p) * frequency;
      cos[p * half + i] = static_cast<float>(std::cos(angle));
      sin[p * half + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace tritter
