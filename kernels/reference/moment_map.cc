#include "kernels/reference/moment_map.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace tritter {
namespace {

MomentMap MakeMap(bool is_signed) {
  MomentMap map;
  int n = 0;
  map.step[n++] = 0.0f;
  for (int i = 0; i < 7; ++i) {
    const int parts = is_signed ? 1 << i : 2 << i;
    for (int k = 0; k < parts; ++k) {
      const double middle = 0.1 + 0.9 * (k + 0.5) / parts;
      map.step[n++] = static_cast<float>(std::pow(10.0, i - 6) * middle);
    }
  }
  map.step[n++] = 1.0f;
  map.steps = n;
  for (int i = 0; i < 256; ++i) {
    map.middle[i] =
        i + 1 < n ? 0.5f * (map.step[i] + map.step[i + 1]) : std::numeric_limits<float>::infinity();
  }
  int below = 0;
  for (int32_t top = MomentMap::kFirstTop; top <= MomentMap::kLastTop; ++top) {
    const int32_t bits = top << 16;
    float lowest;
    std::memcpy(&lowest, &bits, sizeof(lowest));
    while (lowest > map.middle[below]) ++below;
    map.guess[top - MomentMap::kFirstTop] = static_cast<uint8_t>(below);
  }
  return map;
}

}  // namespace

const MomentMap& SignedMomentMap() {
  static const MomentMap map = MakeMap(true);
  return map;
}
const MomentMap& UnsignedMomentMap() {
  static const MomentMap map = MakeMap(false);
  return map;
}

void QuantiseMomentsReference(const float* x, int64_t n, bool is_signed, uint8_t* codes,
                              float* scales) {
  const MomentMap& map = is_signed ? SignedMomentMap() : UnsignedMomentMap();
  for (int64_t b = 0; b < MomentBlocks(n); ++b) {
    const int64_t end = std::min(n, (b + 1) * kMomentBlock);
    float scale = 0;
    for (int64_t i = b * kMomentBlock; i < end; ++i) scale = std::max(scale, std::fabs(x[i]));
    scales[b] = scale;
    for (int64_t i = b * kMomentBlock; i < end; ++i) {
      const float a = scale > 0 ? std::fabs(x[i]) / scale : 0.0f;
      int nearest = 0;
      while (a > map.middle[nearest]) ++nearest;
      if (!is_signed) {
        codes[i] = static_cast<uint8_t>(nearest == 0 && x[i] > 0 ? 1 : nearest);
      } else {
        codes[i] = static_cast<uint8_t>(x[i] < 0 ? 127 - std::min(nearest, 127) : 127 + nearest);
      }
    }
  }
}

void DequantiseMomentsReference(const uint8_t* codes, const float* scales, int64_t n,
                                bool is_signed, float* x) {
  const MomentMap& map = is_signed ? SignedMomentMap() : UnsignedMomentMap();
  for (int64_t i = 0; i < n; ++i) {
    const int c = codes[i];
    const float step = !is_signed ? map.step[c] : c < 127 ? -map.step[127 - c] : map.step[c - 127];
    x[i] = step * scales[i / kMomentBlock];
  }
}

}  // namespace tritter
