// The quantisers of BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764), shared by training, export and
// serving so that all three agree to the last bit. Round half to even everywhere. All float
// arithmetic is single IEEE operations in the order written here (built with -ffp-contract=off),
// the same on every ISA. No state; every function is thread-safe.
//
// NaN and infinity are never hidden: a row of weights that holds one gets a NaN or infinite scale,
// a token that holds one gets inv = NaN, and with them every output they reach is NaN. The codes
// themselves are always valid.
#pragma once

#include <cstdint>

namespace tritter {

inline constexpr float kMinWeightScale = 1e-5f;
inline constexpr float kMinActivationMax = 1e-5f;

// sum|w| of n weights in one fixed order: 16 double lanes, lane i adds |w[i]|, |w[i + 16]|, |w[i +
// 32]|, … in that order; then the lanes are folded in halves: i += i + 8 (i < 8), i += i + 4, i +=
// i + 2, 0 += 1.
double AbsSum(const float* w, int64_t n);
// The scale of `count` weights whose absolute values sum to `abs_sum`: max(float(abs_sum / count),
// 1e-5); NaN stays NaN.
float ScaleFromAbsSum(double abs_sum, int64_t count);
// absmean scale of one row: ScaleFromAbsSum(AbsSum(w, n), n).
float AbsMeanScale(const float* w, int64_t n);
// q = clamp(round(w / s), -1, 1); 0 where w / s is NaN.
void QuantiseTernary(const float* w, int64_t n, float scale, int8_t* q);
// One row per scale (granularity "row") or one for all ("tensor"): scales [rows] or [1]. w, q
// [rows, cols]. The tensor's scale is ScaleFromAbsSum of its rows' AbsSums, added in double from
// the first row to the last, so that rows can be summed apart (by threads, or one in memory at a
// time).
void QuantiseWeights(const float* w, int64_t rows, int64_t cols, bool per_row, int8_t* q,
                     float* scales);

// Per-token int8: amax = max(max|x|, 1e-5); a = 127 / amax; x8 = clamp(round(x * a), -128, 127);
// returns inv = amax / 127, by which results are multiplied. x [n]. When x holds NaN or infinity:
// x8 = 0, returns NaN.
float QuantiseActivationsInt8(const float* x, int64_t n, int8_t* x8);

// Epilogue: y = (float(acc) * weight_scale) * inv. One definition for every caller.
inline float DequantiseDot(int32_t acc, float weight_scale, float inv) {
  return (static_cast<float>(acc) * weight_scale) * inv;
}

}  // namespace tritter
