// How it works. A tile is two halves of 8 rows. Shifted right by 2t and masked with 3, a half holds
// the codes of columns 4t..4t+3, which vpmaddubsw multiplies with four broadcast activations into
// 16-bit pair sums of at most 3 * 128 * 2 = 768: nothing saturates, and up to 42 of them fit 16
// bits. Eight tiles (32 pair sums, 24576) are added up before vpmaddwd widens to 32 bits. Codes are
// 0..2 for -1..1: a token's sum of activations is subtracted at the end. Up to 4 tokens share the
// unpacked codes.
//
// This unit is compiled with -mavx2: no shared inline code in it, not even from our headers (see
// scratch.h).
#include "kernels/cpu/ternary_avx2.h"

#include <immintrin.h>

namespace tritter {
namespace {

constexpr int64_t kTileCols = 16, kTileBytes = 64;
constexpr int64_t kWidenTiles = 8;

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
inline __m256i Load(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

inline __m256i Broadcast4(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}

// One row block, T tokens of a group of `group` tokens: x and sums of the first of them.
template <int T>
void MultiplyBlock(const uint8_t* w, int64_t col_tiles, const int8_t* x, int64_t group,
                   const int32_t* sums, int32_t* y, int64_t y_stride) {
  const __m256i three = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  __m256i wide[T][2];
  for (int t = 0; t < T; ++t) wide[t][0] = wide[t][1] = _mm256_set1_epi32(-sums[t]);
  while (col_tiles > 0) {
    const int64_t tiles = Min(col_tiles, kWidenTiles);
    __m256i narrow[T][2];
    for (int t = 0; t < T; ++t) narrow[t][0] = narrow[t][1] = _mm256_setzero_si256();
    for (int64_t tile = 0; tile < tiles; ++tile, w += kTileBytes, x += kTileCols * group) {
      const __m256i top = Load(w), bottom = Load(w + 32);
#pragma clang loop unroll(full)
      for (int part = 0; part < 4; ++part) {
        const __m256i top_codes = _mm256_and_si256(_mm256_srli_epi32(top, 2 * part), three);
        const __m256i bottom_codes = _mm256_and_si256(_mm256_srli_epi32(bottom, 2 * part), three);
#pragma clang loop unroll(full)
        for (int t = 0; t < T; ++t) {
          const __m256i b = Broadcast4(x + 4 * (part * group + t));
          narrow[t][0] = _mm256_add_epi16(narrow[t][0], _mm256_maddubs_epi16(top_codes, b));
          narrow[t][1] = _mm256_add_epi16(narrow[t][1], _mm256_maddubs_epi16(bottom_codes, b));
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      for (int half = 0; half < 2; ++half) {
        wide[t][half] = _mm256_add_epi32(wide[t][half], _mm256_madd_epi16(narrow[t][half], ones));
      }
    }
    col_tiles -= tiles;
  }
  for (int t = 0; t < T; ++t) {
    for (int half = 0; half < 2; ++half) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + t * y_stride + 8 * half), wide[t][half]);
    }
  }
}

}  // namespace

void TernaryGemmAvx2(const uint8_t* tiled, int64_t rows, int64_t cols, const ArrangedActivations& x,
                     int32_t* y, int64_t y_stride, int64_t first_block, int64_t end_block) {
  static_cast<void>(rows);  // padding rows hold code 1 and come out as 0
  constexpr decltype(&MultiplyBlock<1>) kBlockFns[] = {nullptr, MultiplyBlock<1>, MultiplyBlock<2>,
                                                       MultiplyBlock<3>, MultiplyBlock<4>};
  const int64_t col_tiles = (cols + kTileCols - 1) / kTileCols, columns = col_tiles * kTileCols;
  for (int64_t block = first_block; block < end_block; ++block) {
    const uint8_t* w = tiled + block * col_tiles * kTileBytes;
    for (int64_t g = 0; g < TokenGroups(x.tokens); ++g) {
      const int64_t first = FirstOfGroup(x.tokens, g), size = FirstOfGroup(x.tokens, g + 1) - first;
      for (int64_t t = 0; t < size; t += 4) {
        kBlockFns[Min(4, size - t)](
            w, col_tiles, x.x + first * columns + 4 * t, size, x.sums + first + t,
            y + (first + t) * y_stride + 16 * (block - first_block), y_stride);
      }
    }
  }
}

}  // namespace tritter
