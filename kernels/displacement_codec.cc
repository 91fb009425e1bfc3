#include "kernels/displacement_codec.h"

#include <algorithm>
#include <cstring>

namespace tritter {
namespace {

constexpr float kSmallest = 1e-30f;                // its reciprocal times 127 is still finite
constexpr float kLargestScale = 0x1.020406p+121f;  // 127 times it is still finite
constexpr uint32_t kInfinity = 0x7F800000u;

int64_t Chunks(int64_t n) { return (n + kDisplacementChunk - 1) / kDisplacementChunk; }

// Bits of the largest magnitude: magnitudes are ordered as their bits are, NaN above infinity.
uint32_t LargestBits(const float* x, int64_t n) {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    bits &= 0x7FFFFFFF;
    largest = bits > largest ? bits : largest;
  }
  return static_cast<uint32_t>(largest);
}

// To nearest, ties to even, for |x| below 2^22: the sum has no bits behind the point.
inline float Rounded(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 · 2^23
  return (x + kShift) - kShift;
}

}  // namespace

int64_t EncodeDisplacement(const float* x, int64_t n, float* residual, uint8_t* encoded) {
  int8_t* const codes = reinterpret_cast<int8_t*>(encoded + Chunks(n) * sizeof(float));
  for (int64_t c = 0; c < Chunks(n); ++c) {
    const int64_t at = c * kDisplacementChunk, count = std::min(kDisplacementChunk, n - at);
    float* const value = residual + at;
    for (int64_t i = 0; i < count; ++i) value[i] += x[at + i];
    const uint32_t bits = LargestBits(value, count);
    if (bits >= kInfinity) {
      for (int64_t i = 0;; ++i) {
        if (LargestBits(value + i, 1) >= kInfinity) return at + i;
      }
    }
    float largest, scale = 0.0f, inverse = 0.0f;
    std::memcpy(&largest, &bits, sizeof(largest));
    if (largest >= kSmallest) {
      scale = std::min(largest / 127.0f, kLargestScale);
      inverse = 127.0f / largest;
    }
    std::memcpy(encoded + c * sizeof(float), &scale, sizeof(scale));
    for (int64_t i = 0; i < count; ++i) {
      const float code = Rounded(value[i] * inverse);
      codes[at + i] = static_cast<int8_t>(static_cast<int32_t>(code));
      value[i] -= code * scale;
    }
  }
  return -1;
}

void DecodeDisplacement(const uint8_t* encoded, int64_t n, float* x) {
  const int8_t* const codes = reinterpret_cast<const int8_t*>(encoded + Chunks(n) * sizeof(float));
  for (int64_t c = 0; c < Chunks(n); ++c) {
    const int64_t at = c * kDisplacementChunk, count = std::min(kDisplacementChunk, n - at);
    float scale;
    std::memcpy(&scale, encoded + c * sizeof(float), sizeof(scale));
    for (int64_t i = 0; i < count; ++i) x[at + i] = static_cast<float>(codes[at + i]) * scale;
  }
}

}  // namespace tritter
