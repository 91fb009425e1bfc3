#include "kernels/cpu/peak_loops.h"

#include <immintrin.h>

namespace tritter {

bool HasInt8DotProduct() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
}

__attribute__((target("avx2"))) static uint64_t SumWordsAvx2(const uint64_t* words, int64_t count) {
  __m256i sum[4] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int j = 0; j < 4; ++j) {
      sum[j] = _mm256_add_epi64(
          sum[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + i + 4 * j)));
    }
  }
  const __m256i all =
      _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  uint64_t total = 0, lanes[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), all);
  for (const uint64_t lane : lanes) total += lane;
  for (; i < count; ++i) total += words[i];
  return total;
}

uint64_t SumWords(const uint64_t* words, int64_t count) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) return SumWordsAvx2(words, count);
  uint64_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += words[i];
  return total;
}

__attribute__((target("avx512f,avx512vnni"))) int64_t Int8DotProducts(int64_t rounds) {
  constexpr int kChains = 12;
  __m512i acc[kChains];
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_epi32(c);
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
  for (int64_t r = 0; r < rounds; ++r) {
    for (int c = 0; c < kChains; ++c) {
      acc[c] = _mm512_dpbusd_epi32(acc[c], a, b);
      __asm__ volatile("" : "+v"(acc[c]));  // otherwise the loop is one multiplication
    }
  }
  return rounds * kChains * 64 * 2;
}

}  // namespace tritter
