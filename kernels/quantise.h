// The quantisers of BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764), shared by training, export and serving so that
// all three agree to the last bit. Round half to even everywhere. All float arithmetic is single IEEE operations in the
// order written here (built with -ffp-contract=off).
#pragma once

#include <cstdint>

namespace tritter {

// absmean scale of n weights: max(sum|w| / n, 1e-5). The sum runs in 16 interleaved float lanes folded in halves, in
// double... see the .cc: one fixed order, so that every ISA gives the same bits.
float AbsMeanScale(const float* w, int64_t n);
// q = clamp(round(w / s), -1, 1).
void QuantiseTernary(const float* w, int64_t n, float scale, int8_t* q);
// One row per scale (granularity "row") or one for all ("tensor"): scales [rows] or [1].
void QuantiseWeights(const float* w, int64_t rows, int64_t cols, bool per_row, int8_t* q, float* scales);

// Per-token int8: amax = max(max|x|, 1e-5); a = 127 / amax; x8 = clamp(round(x * a), -128, 127);
// returns inv = amax / 127, by which results are multiplied. x [n].
float QuantiseActivationsInt8(const float* x, int64_t n, int8_t* x8);

// Epilogue: y = (float(acc) * weight_scale) * inv. One definition for every caller.
inline float DequantiseDot(int32_t acc, float weight_scale, float inv) {
  return (static_cast<float>(acc) * weight_scale) * inv;
}

}  // namespace tritter
