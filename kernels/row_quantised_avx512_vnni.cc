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

struct Operands {
  const uint8_t* codes;
  int64_t bytes;  // of a row
  const float* scales;
  int64_t cols;
  const int8_t *hi, *lo;  // of the first token
  int64_t stride;         // from one token to the next
  const float* inv;
  const int64_t *sums_hi, *sums_lo;
  float* y;
  int64_t y_stride;
};

// R rows times T tokens.
template <RowFormat F, int R, int T>
void MultiplyBlock(const Operands& o) {
  __m512i hi[R][T], lo[R][T];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) hi[r][t] = lo[r][t] = _mm512_setzero_si512();
  }
  const auto add = [&](int r, __m512i w, int64_t at) __attribute__((always_inline)) {
#pragma clang loop unroll(full)
    for (int t = 0; t < T; ++t) {
      hi[r][t] = _mm512_dpbusd_epi32(hi[r][t], w, Load(o.hi + t * o.stride + at));
      lo[r][t] = _mm512_dpbusd_epi32(lo[r][t], w, Load(o.lo + t * o.stride + at));
    }
  };
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80)), low = _mm512_set1_epi8(15);
  if constexpr (F == RowFormat::kInt8) {
    int64_t c = 0;
    for (; c + 64 <= o.cols; c += 64) {
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r)
        add(r, _mm512_xor_si512(Load(o.codes + r * o.bytes + c), sign), c);
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
        const __m512i w = Load(o.codes + r * o.bytes + b);
        add(r, _mm512_and_si512(w, low), c);
        add(r, _mm512_and_si512(_mm512_srli_epi16(w, 4), low), c + 64);
      }
    }
  }
  constexpr int64_t kOffset = F == RowFormat::kInt8 ? 128 : 8;
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) {
      const int64_t h = _mm512_reduce_add_epi32(hi[r][t]) - kOffset * o.sums_hi[t];
      const int64_t l = _mm512_reduce_add_epi32(lo[r][t]) - kOffset * o.sums_lo[t];
      const double dot = static_cast<double>(256 * h + l);
      o.y[t * o.y_stride + r] = static_cast<float>(dot * o.scales[r] * o.inv[t]);
    }
  }
}

template <RowFormat F, int T>
void MultiplyTokens(Operands o, int64_t rows) {
  constexpr int R = T <= 2 ? 4 : 2;
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
  int64_t sums_hi[kMaxTokens], sums_lo[kMaxTokens];
  for (int64_t from = 0; from < x.tokens; from += kMaxTokens) {
    const int64_t tokens = x.tokens - from < kMaxTokens ? x.tokens - from : kMaxTokens;
    for (int64_t t = 0; t < tokens; ++t) {
      sums_hi[t] = SumOf(x.hi + (from + t) * stride, stride);
      sums_lo[t] = SumOf(x.lo + (from + t) * stride, stride);
    }
    for (int64_t row = 0; row < rows; row += kRowsAtOnce) {
      const int64_t count = rows - row < kRowsAtOnce ? rows - row : kRowsAtOnce;
      for (int64_t t = 0; t < tokens;) {
        const int64_t at = from + t;
        const Operands o = {
            codes + row * bytes,     bytes,   scales + row, cols,        x.hi + at * stride,
            x.lo + at * stride,      stride,  x.inv + at,   sums_hi + t, sums_lo + t,
            y + at * y_stride + row, y_stride};
        if (tokens - t >= 4) {
          MultiplyTokens<F, 4>(o, count);
          t += 4;
        } else if (tokens - t >= 2) {
          MultiplyTokens<F, 2>(o, count);
          t += 2;
        } else {
          MultiplyTokens<F, 1>(o, count);
          t += 1;
        }
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
