#include "kernels/quantise.h"

#include <bit>
#include <cmath>
#include <limits>

namespace tritter {
namespace {

constexpr int kLanes = 16;
constexpr uint32_t kInfinityBits = 0x7F800000u;

// Sum of the bits trick: v + 1.5 * 2^23 leaves round-half-even(v) in the low mantissa bits, for |v|
// < 2^22.
constexpr float kRoundMagic = 12582912.0f;

// max|x| as the bits of a float. Without the sign, floats order as their bits do, with NaN above
// infinity, so that one integer maximum finds both the largest value and any NaN.
uint32_t AbsMaxBits(const float* x, int64_t n) {
  uint32_t best = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFFu;
    best = bits > best ? bits : best;
  }
  return best;
}

}  // namespace

double AbsSum(const float* w, int64_t n) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane)
      lanes[lane] += static_cast<double>(std::fabs(w[i + lane]));
  }
  for (int lane = 0; i + lane < n; ++lane)
    lanes[lane] += static_cast<double>(std::fabs(w[i + lane]));
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

float ScaleFromAbsSum(double abs_sum, int64_t count) {
  const float mean = count > 0 ? static_cast<float>(abs_sum / static_cast<double>(count)) : 0.0f;
  return mean < kMinWeightScale ? kMinWeightScale : mean;  // this way round NaN stays NaN
}

float AbsMeanScale(const float* w, int64_t n) { return ScaleFromAbsSum(AbsSum(w, n), n); }

void QuantiseTernary(const float* w, int64_t n, float scale, int8_t* q) {
  for (int64_t i = 0; i < n; ++i) {
    // round-half-even then clamp: ±0.5 goes to 0, everything beyond to ±1; comparisons with NaN are
    // false.
    const float v = w[i] / scale;
    q[i] = static_cast<int8_t>(static_cast<int>(v > 0.5f) - static_cast<int>(v < -0.5f));
  }
}

void QuantiseWeights(const float* w, int64_t rows, int64_t cols, bool per_row, int8_t* q,
                     float* scales) {
  if (!per_row) {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += AbsSum(w + r * cols, cols);
    scales[0] = ScaleFromAbsSum(sum, rows * cols);
  }
  for (int64_t r = 0; r < rows; ++r) {
    if (per_row) scales[r] = AbsMeanScale(w + r * cols, cols);
    QuantiseTernary(w + r * cols, cols, per_row ? scales[r] : scales[0], q + r * cols);
  }
}

float QuantiseActivationsInt8(const float* x, int64_t n, int8_t* x8) {
  const uint32_t max_bits = AbsMaxBits(x, n);
  if (max_bits >= kInfinityBits) {
    for (int64_t i = 0; i < n; ++i) x8[i] = 0;
    return std::numeric_limits<float>::quiet_NaN();
  }
  float amax = std::bit_cast<float>(max_bits);
  if (amax < kMinActivationMax) amax = kMinActivationMax;
  const float a = 127.0f / amax;
  for (int64_t i = 0; i < n; ++i) {
    // |x * a| <= 127 * (1 + 2^-22): rounds within [-127, 127], so the clamp can never act.
    const float shifted = x[i] * a + kRoundMagic;
    x8[i] =
        static_cast<int8_t>(std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRoundMagic));
  }
  return amax / 127.0f;
}

}  // namespace tritter
