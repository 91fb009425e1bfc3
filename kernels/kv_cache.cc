#include "kernels/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "kernels/kv_page.h"

namespace tritter {

extern const KvOps kBaselineKvOps;
#if defined(__x86_64__)
extern const KvOps kAvx2KvOps;
extern const KvOps kAvx512KvOps;
#endif

std::vector<const KvOps*> SupportedKvOps() {
  std::vector<const KvOps*> ops = {&kBaselineKvOps};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) ops.push_back(&kAvx2KvOps);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    ops.push_back(&kAvx512KvOps);
  }
#endif
  return ops;
}

void AttendKv(const KvPages& kv, const KvQueries& queries, float* scratch) {
  static const KvOps* const best = SupportedKvOps().back();
  best->attend(kv, queries, scratch);
}

int64_t KvScratchFloats(int64_t d, int64_t positions, int64_t queries) {
  return queries * (KvScoreStride(positions) + d) + 3 * 16 * KvPadded(d);
}

int64_t KvPageBytes(KvFormat format, int64_t d) {
  const int64_t bytes = format == KvFormat::kF32    ? 2 * 16 * d * 4
                        : format == KvFormat::kBf16 ? 2 * 16 * KvPadded(d) * 2
                                                    : Int4PageOf(d).end;
  return (bytes + 63) / 64 * 64;
}

namespace {

struct Int4Group {
  uint16_t scale, minimum;
  uint8_t codes[kKvGroup];
};
Int4Group QuantiseGroup(const float* x, int64_t n) {
  Int4Group out = {};
  float low = x[0], high = x[0];
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    finite = finite && std::isfinite(x[i]);
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (!finite) {
    out.scale = out.minimum = HalfNearest(NAN);
    return out;
  }
  if (low == high) {
    out.minimum = HalfNearest(low);
    return out;
  }
  out.minimum = HalfDown(low);
  const float minimum = HalfToFloat(out.minimum);
  // The quotient rounds: up to the next float, so that 15 scales reach the largest value.
  out.scale = HalfUp(std::nextafter((high - minimum) / 15.0f, INFINITY));
  const float scale = HalfToFloat(out.scale);
  for (int64_t i = 0; i < n; ++i) {
    const float code = std::nearbyint((x[i] - minimum) / scale);
    out.codes[i] = static_cast<uint8_t>(std::clamp(code, 0.0f, 15.0f));
  }
  return out;
}

void SetNibble(uint8_t* words, int64_t word, int64_t nibble, uint8_t code) {
  uint32_t w;
  std::memcpy(&w, words + 4 * word, 4);
  w = (w & ~(15u << 4 * nibble)) | uint32_t{code} << 4 * nibble;
  std::memcpy(words + 4 * word, &w, 4);
}
uint8_t Nibble(const uint8_t* words, int64_t word, int64_t nibble) {
  uint32_t w;
  std::memcpy(&w, words + 4 * word, 4);
  return w >> 4 * nibble & 15;
}

void StoreInt4(const float* x, int64_t d, int64_t slot, bool keys, uint8_t* page) {
  const Int4Page at = Int4PageOf(d);
  for (int64_t g = 0; g < KvGroups(d); ++g) {
    const int64_t n = std::min(kKvGroup, d - g * kKvGroup);
    const Int4Group group = QuantiseGroup(x + g * kKvGroup, n);
    const int64_t number = (g * 16 + slot) * 2;
    std::memcpy(page + (keys ? at.key_scales : at.value_scales) + number, &group.scale, 2);
    std::memcpy(page + (keys ? at.key_minima : at.value_minima) + number, &group.minimum, 2);
    for (int64_t j = 0; j < n; ++j) {
      const int64_t i = g * kKvGroup + j;
      const NibblePlace place = keys ? KeyPlace(i, slot) : ValuePlace(i, slot, KvPadded(d));
      SetNibble(page + (keys ? 0 : at.value_codes), place.word, place.nibble, group.codes[j]);
    }
  }
}
void LoadInt4(const uint8_t* page, int64_t d, int64_t slot, bool keys, float* x) {
  const Int4Page at = Int4PageOf(d);
  for (int64_t i = 0; i < d; ++i) {
    const int64_t number = (i / kKvGroup * 16 + slot) * 2;
    uint16_t scale, minimum;
    std::memcpy(&scale, page + (keys ? at.key_scales : at.value_scales) + number, 2);
    std::memcpy(&minimum, page + (keys ? at.key_minima : at.value_minima) + number, 2);
    const NibblePlace place = keys ? KeyPlace(i, slot) : ValuePlace(i, slot, KvPadded(d));
    const float code = Nibble(page + (keys ? 0 : at.value_codes), place.word, place.nibble);
    x[i] = std::fma(HalfToFloat(scale), code, HalfToFloat(minimum));
  }
}

}  // namespace

void KvStore(KvFormat format, const float* k, const float* v, int64_t d, int64_t slot,
             uint8_t* page) {
  if (format == KvFormat::kInt4) {
    StoreInt4(k, d, slot, true, page);
    StoreInt4(v, d, slot, false, page);
  } else if (format == KvFormat::kBf16) {
    uint16_t* const numbers = reinterpret_cast<uint16_t*>(page);
    const int64_t padded = KvPadded(d);
    for (int64_t i = 0; i < d; ++i) {
      numbers[Bf16Key(i, slot)] = ToBF16(k[i]);
      numbers[padded * 16 + Bf16Value(i, slot, padded)] = ToBF16(v[i]);
    }
  } else {
    float* const numbers = reinterpret_cast<float*>(page);
    for (int64_t i = 0; i < d; ++i) numbers[i * 16 + slot] = k[i];
    std::memcpy(numbers + 16 * d + slot * d, v, static_cast<size_t>(d) * sizeof(float));
  }
}

void KvLoad(KvFormat format, const uint8_t* page, int64_t d, int64_t slot, float* k, float* v) {
  if (format == KvFormat::kInt4) {
    LoadInt4(page, d, slot, true, k);
    LoadInt4(page, d, slot, false, v);
  } else if (format == KvFormat::kBf16) {
    const uint16_t* const numbers = reinterpret_cast<const uint16_t*>(page);
    const int64_t padded = KvPadded(d);
    for (int64_t i = 0; i < d; ++i) {
      k[i] = FromBF16(numbers[Bf16Key(i, slot)]);
      v[i] = FromBF16(numbers[padded * 16 + Bf16Value(i, slot, padded)]);
    }
  } else {
    const float* const numbers = reinterpret_cast<const float*>(page);
    for (int64_t i = 0; i < d; ++i) k[i] = numbers[i * 16 + slot];
    std::memcpy(v, numbers + 16 * d + slot * d, static_cast<size_t>(d) * sizeof(float));
  }
}

}  // namespace tritter
