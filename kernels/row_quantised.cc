#include "kernels/row_quantised.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tritter {

extern const RowQuantisedOps kBaselineRowQuantisedOps;
#if defined(__x86_64__)
extern const RowQuantisedOps kAvx2RowQuantisedOps;
extern const RowQuantisedOps kAvx512VnniRowQuantisedOps;
#endif

std::vector<const RowQuantisedOps*> SupportedRowQuantisedOps() {
  std::vector<const RowQuantisedOps*> ops = {&kBaselineRowQuantisedOps};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) ops.push_back(&kAvx2RowQuantisedOps);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vnni")) {
    ops.push_back(&kAvx512VnniRowQuantisedOps);
  }
#endif
  return ops;
}

void MultiplyQuantisedRows(RowFormat format, const uint8_t* codes, const float* scales,
                           int64_t rows, int64_t cols, const SplitRows& x, float* y,
                           int64_t y_stride) {
  static const RowQuantisedOps* const best = SupportedRowQuantisedOps().back();
  best->multiply(format, codes, scales, rows, cols, x, y, y_stride);
}

int64_t QuantisedRowBytes(RowFormat format, int64_t cols) {
  return format == RowFormat::kInt8 ? cols : (cols + 127) / 128 * 64;
}

namespace {

float Quantised(float w, float scale, float low, float high) {
  return std::clamp(std::nearbyint(w / scale), low, high);
}

double SquaredError(const float* w, int64_t cols, float scale) {
  double sum = 0;
  for (int64_t c = 0; c < cols; ++c) {
    const double e = double{w[c]} - double{Quantised(w[c], scale, -8, 7)} * double{scale};
    sum += e * e;
  }
  return sum;
}

}  // namespace

float QuantiseRowCodes(RowFormat format, const float* w, int64_t cols, uint8_t* codes) {
  float largest = 0;
  bool finite = true;
  for (int64_t c = 0; c < cols; ++c) {
    finite = finite && std::isfinite(w[c]);
    largest = std::max(largest, std::fabs(w[c]));
  }
  const bool int8 = format == RowFormat::kInt8;
  // A row of zeros has a scale too: readers ask for finite ones.
  float scale = std::max(largest / (int8 ? 127.0f : 7.0f), 1e-30f);
  if (!finite) scale = NAN;
  if (!int8 && finite && largest > 0) {
    double best = SquaredError(w, cols, scale);
    const float widest = scale;
    for (int step = 1; step < 16; ++step) {
      const float narrower = widest * (1.0f - 0.03f * static_cast<float>(step));
      if (const double error = SquaredError(w, cols, narrower); error < best) {
        best = error;
        scale = narrower;
      }
    }
  }
  if (int8) {
    for (int64_t c = 0; c < cols; ++c)
      codes[c] =
          finite ? static_cast<uint8_t>(static_cast<int8_t>(Quantised(w[c], scale, -127, 127))) : 0;
    return scale;
  }
  std::memset(codes, 0x88, static_cast<size_t>(QuantisedRowBytes(format, cols)));
  for (int64_t c = 0; c < cols && finite; ++c) {
    const int code = static_cast<int>(Quantised(w[c], scale, -8, 7)) + 8;
    uint8_t& byte = codes[c / 128 * 64 + c % 64];
    byte = static_cast<uint8_t>(c % 128 < 64 ? (byte & 0xf0) | code : (byte & 0x0f) | code << 4);
  }
  return scale;
}

void ExpandRow(RowFormat format, const uint8_t* codes, float scale, int64_t cols, float* w) {
  for (int64_t c = 0; c < cols; ++c) {
    const int code = format == RowFormat::kInt8
                         ? static_cast<int8_t>(codes[c])
                         : (codes[c / 128 * 64 + c % 64] >> (c % 128 < 64 ? 0 : 4) & 15) - 8;
    w[c] = static_cast<float>(code) * scale;
  }
}

float SplitActivations(const float* x, int64_t cols, int8_t* hi, int8_t* lo) {
  float largest = 1e-30f;
  bool finite = true;
  for (int64_t c = 0; c < cols; ++c) {
    finite = finite && std::isfinite(x[c]);
    largest = std::max(largest, std::fabs(x[c]));
  }
  const int64_t stride = SplitStride(cols);
  std::memset(hi, 0, static_cast<size_t>(stride));
  std::memset(lo, 0, static_cast<size_t>(stride));
  if (!finite) return NAN;
  const float a = 32512.0f / largest;  // 127 * 256
  for (int64_t c = 0; c < cols; ++c) {
    const int value = static_cast<int>(std::nearbyint(x[c] * a));
    const int high = (value + 128) >> 8;
    hi[c] = static_cast<int8_t>(high);
    lo[c] = static_cast<int8_t>(value - 256 * high);
  }
  return largest / 32512.0f;
}

}  // namespace tritter
