// How it works. vpdpbusd multiplies unsigned with signed bytes: INT8 codes become unsigned by
// flipping the sign bit (+ 128), INT4 codes are unsigned as they are stored (+ 8); what was added
// is taken off by the sums of the activations. A block of rows shares the loads of the activations.
#include <immintrin.h>

#include "kernels/row_quantised.h"

namespace tritter {
namespace {

inline __m512i Load(const void* p) { return _mm512_loadu_si512(p); }

// Sum of n bytes, n a multiple of 64.
int64_t SumOf(const int8_t* x, int64_t n) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 64) sum = _mm512_dpbusd_epi32(sum, ones, Load(x + i));
  return _mm512_reduce_add_epi32(sum);
}

// Lane k = the sum of the lanes of a[k].
__m512i SumsOf(const __m512i* a) {
  __m512i t[8], u[4];
  for (int i = 0; i < 8; ++i) {
    t[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]),
                            _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]));
  }
  for (int i = 0; i < 4; ++i) {
    u[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(t[2 * i], t[2 * i + 1]),
                            _mm512_unpackhi_epi64(t[2 * i], t[2 * i + 1]));
  }
  for (int i = 0; i < 2; ++i) {
    t[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(u[2 * i], u[2 * i + 1], 0x88),
                            _mm512_shuffle_i32x4(u[2 * i], u[2 * i + 1], 0xdd));
  }
  return _mm512_add_epi32(_mm512_shuffle_i32x4(t[0], t[1], 0x88),
                          _mm512_shuffle_i32x4(t[0], t[1], 0xdd));
}

// R rows times T tokens are at most so many results, which become floats side by side.
constexpr int kResults = 8;
// A distance that one token's rows, read from memory, are fetched ahead: short rows apart are not
// foreseen by the hardware.
constexpr int64_t kPrefetchRows = 8;

struct Operands {
  const uint8_t* codes;
  int64_t bytes;  // of a row
  const float* scales;
  int64_t cols;
  const int8_t *hi, *lo;  // of the first token
  int64_t stride;         // from one token to the next
  // Of token k mod T: what the codes' offset adds to the sums, and the factor.
  double offset_hi[kResults], offset_lo[kResults], inv[kResults];
  float* y;
  int64_t y_stride;
};

template <RowFormat F, int R, int T>
void MultiplyBlock(const Operands& o) {
  __m512i acc[2 * kResults];  // hi, then lo, of result r * T + t
#pragma clang loop unroll(full)
  for (int k = 0; k < 2 * kResults; ++k) acc[k] = _mm512_setzero_si512();
  const auto add = [&](int r, __m512i w, int64_t at) __attribute__((always_inline)) {
#pragma clang loop unroll(full)
    for (int t = 0; t < T; ++t) {
      const int k = r * T + t;
      acc[k] = _mm512_dpbusd_epi32(acc[k], w, Load(o.hi + t * o.stride + at));
      acc[kResults + k] = _mm512_dpbusd_epi32(acc[kResults + k], w, Load(o.lo + t * o.stride + at));
    }
  };
  const auto codes = [&](int r, int64_t at) __attribute__((always_inline)) {
    const uint8_t* const from = o.codes + r * o.bytes + at;
    _mm_prefetch(from + kPrefetchRows * o.bytes, _MM_HINT_T0);
    return Load(from);
  };
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80)), low = _mm512_set1_epi8(15);
  if constexpr (F == RowFormat::kInt8) {
    int64_t c = 0;
    for (; c + 64 <= o.cols; c += 64) {
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) add(r, _mm512_xor_si512(codes(r, c), sign), c);
    }
    if (c < o.cols) {  // the activations behind the row are 0
      const __mmask64 mask = (uint64_t{1} << (o.cols - c)) - 1;
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) {
        const __m512i w = _mm512_maskz_loadu_epi8(mask, o.codes + r * o.bytes + c);
        add(r, _mm512_xor_si512(w, sign), c);
      }
    }
  } else {
    for (int64_t c = 0, b = 0; c < o.cols; c += 128, b += 64) {
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) {
        const __m512i w = codes(r, b);
        add(r, _mm512_and_si512(w, low), c);
        add(r, _mm512_and_si512(_mm512_srli_epi16(w, 4), low), c + 64);
      }
    }
  }
  // Doubles hold every sum exactly: |256 hi + lo| < 2^53.
  const __m512i sums = SumsOf(acc);
  const __m512d hi =
      _mm512_sub_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(sums)), _mm512_loadu_pd(o.offset_hi));
  const __m512d lo = _mm512_sub_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(sums, 1)),
                                   _mm512_loadu_pd(o.offset_lo));
  const __m512d dot = _mm512_add_pd(_mm512_mul_pd(hi, _mm512_set1_pd(256.0)), lo);
  double scale[kResults] = {};
#pragma clang loop unroll(full)
  for (int k = 0; k < R * T; ++k) scale[k] = o.scales[k / T];
  const __m256 y = _mm512_cvtpd_ps(
      _mm512_mul_pd(_mm512_mul_pd(dot, _mm512_loadu_pd(scale)), _mm512_loadu_pd(o.inv)));
  float results[kResults];
  _mm256_storeu_ps(results, y);
#pragma clang loop unroll(full)
  for (int k = 0; k < R * T; ++k) o.y[k % T * o.y_stride + k / T] = results[k];
}

template <RowFormat F, int T>
void MultiplyTokens(Operands o, int64_t rows) {
  constexpr int R = kResults / T;
  int64_t r = 0;
  for (; r + R <= rows; r += R) {
    MultiplyBlock<F, R, T>(o);
    o.codes += R * o.bytes, o.scales += R, o.y += R;
  }
  for (; r < rows; ++r) {
    MultiplyBlock<F, 1, T>(o);
    o.codes += o.bytes, o.scales += 1, o.y += 1;
  }
}

// Rows that stay in the cache while every token passes.
constexpr int64_t kRowsAtOnce = 32;
constexpr int64_t kMaxTokens = 64;  // whose sums are held

template <RowFormat F>
void MultiplyFormat(const uint8_t* codes, const float* scales, int64_t rows, int64_t cols,
                    const SplitRows& x, float* y, int64_t y_stride) {
  const int64_t bytes = F == RowFormat::kInt8 ? cols : (cols + 127) / 128 * 64;
  const int64_t stride = (cols + 127) / 128 * 128;
  constexpr double kOffset = F == RowFormat::kInt8 ? 128 : 8;
  double offset_hi[kMaxTokens], offset_lo[kMaxTokens];
  for (int64_t from = 0; from < x.tokens; from += kMaxTokens) {
    const int64_t tokens = x.tokens - from < kMaxTokens ? x.tokens - from : kMaxTokens;
    for (int64_t t = 0; t < tokens; ++t) {
      offset_hi[t] = kOffset * static_cast<double>(SumOf(x.hi + (from + t) * stride, stride));
      offset_lo[t] = kOffset * static_cast<double>(SumOf(x.lo + (from + t) * stride, stride));
    }
    for (int64_t row = 0; row < rows; row += kRowsAtOnce) {
      const int64_t count = rows - row < kRowsAtOnce ? rows - row : kRowsAtOnce;
      for (int64_t t = 0; t < tokens;) {
        const int64_t at = from + t, together = tokens - t >= 4 ? 4 : tokens - t >= 2 ? 2 : 1;
        Operands o = {codes + row * bytes,     bytes,   scales + row, cols, x.hi + at * stride,
                      x.lo + at * stride,      stride,  {},           {},   {},
                      y + at * y_stride + row, y_stride};
        for (int k = 0; k < kResults; ++k) {
          o.offset_hi[k] = offset_hi[t + k % together];
          o.offset_lo[k] = offset_lo[t + k % together];
          o.inv[k] = x.inv[at + k % together];
        }
        if (together == 4) MultiplyTokens<F, 4>(o, count);
        if (together == 2) MultiplyTokens<F, 2>(o, count);
        if (together == 1) MultiplyTokens<F, 1>(o, count);
        t += together;
      }
    }
  }
}

void MultiplyRowsImpl(RowFormat format, const uint8_t* codes, const float* scales, int64_t rows,
                      int64_t cols, const SplitRows& x, float* y, int64_t y_stride) {
  if (format == RowFormat::kInt8) {
    MultiplyFormat<RowFormat::kInt8>(codes, scales, rows, cols, x, y, y_stride);
  } else {
    MultiplyFormat<RowFormat::kInt4>(codes, scales, rows, cols, x, y, y_stride);
  }
}

}  // namespace

extern const RowQuantisedOps kAvx512VnniRowQuantisedOps;
const RowQuantisedOps kAvx512VnniRowQuantisedOps = {"avx512_vnni", MultiplyRowsImpl};

}  // namespace tritter
