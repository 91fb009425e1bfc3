// How it works. A tile's 64 bytes shifted right by 2t and masked with 3 are, lane by lane, the
// codes of columns 4t..4t+3 of 16 rows: the unsigned operand of vpdpbusd, whose signed operand is
// four activations of one token, broadcast. Codes are 0..2 for -1..1, so a token's sum of
// activations is subtracted once from every row.
//
// - One token (decode): bound by the bytes of the weights. Masked without shifting, the four column
// groups are 1, 4, 16
//   and 64 times too large and have an accumulator each, shifted back at the end: one load, four
//   ands and four products a tile. Four row blocks at a time share the broadcasts.
// - 2 to kMaxGroup tokens: codes are made once in registers and used for all tokens of 2 row blocks
// (up to 24
//   accumulators). Activations are first copied to [column group][token] order, so that broadcasts
//   come from one stream.
// - More: groups of up to kMaxGroup tokens; the codes of 2 row blocks x kPanelCols columns are
// unpacked once into L2 and
//   used by every group.
#include "kernels/cpu/ternary_avx512_vnni.h"

#include <immintrin.h>

#include "kernels/cpu/scratch.h"

namespace tritter {
namespace {

constexpr int64_t kTileCols = 16, kTileBytes = 64;
constexpr int64_t kMaxGroup = 12;    // tokens whose accumulators for 2 row blocks fit the registers
constexpr int64_t kMaxTokens = 264;  // tokens packed at a time
constexpr int64_t kPanelCols =
    2048;  // columns of an unpacked panel; with the packed tokens it fits half a MiB of L2
constexpr int64_t kPrefetchBytes =
    512;  // two streams alone do not keep memory busy: 20 % at 2 to 8 tokens
constexpr int64_t kSingleChunk =
    262144;  // columns before a 64-fold accumulator could overflow: 6144 * cols < 2^31

static_assert(kMaxTokens * kPanelCols + 32 * kPanelCols <= kKernelScratchBytes);

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
inline __m512i Load(const void* p) { return _mm512_loadu_si512(p); }
inline void Store(void* p, __m512i v) { _mm512_storeu_si512(p, v); }

inline __m512i Broadcast4(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}

// n a multiple of 16.
int32_t SumOf(const int8_t* x, int64_t n) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) sum = _mm512_dpbusd_epi32(sum, ones, Load(x + i));
  for (; i < n; i += 16) {
    const __m128i part = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
    sum = _mm512_dpbusd_epi32(sum, ones, _mm512_zextsi128_si512(part));
  }
  return _mm512_reduce_add_epi32(sum);
}

// One token, R row blocks that lie `block_bytes` apart.
template <int R>
void MultiplyOne(const uint8_t* w, int64_t block_bytes, int64_t col_tiles, const int8_t* x,
                 int32_t sum, int32_t* y) {
  const __m512i mask[4] = {_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0C), _mm512_set1_epi8(0x30),
                           _mm512_set1_epi8(static_cast<char>(0xC0))};
  __m512i total[R];
  for (int r = 0; r < R; ++r) total[r] = _mm512_set1_epi32(-sum);
  while (col_tiles > 0) {
    const int64_t tiles = Min(col_tiles, kSingleChunk / kTileCols);
    __m512i acc[R][4];
    for (int r = 0; r < R; ++r) {
      for (int t = 0; t < 4; ++t) acc[r][t] = _mm512_setzero_si512();
    }
    for (int64_t tile = 0; tile < tiles; ++tile, w += kTileBytes, x += kTileCols) {
      __m512i raw[R];
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) raw[r] = Load(w + r * block_bytes);
#pragma clang loop unroll(full)
      for (int t = 0; t < 4; ++t) {
        const __m512i b = Broadcast4(x + 4 * t);
#pragma clang loop unroll(full)
        for (int r = 0; r < R; ++r)
          acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], _mm512_and_si512(raw[r], mask[t]), b);
      }
    }
    for (int r = 0; r < R; ++r) {
      const __m512i low = _mm512_add_epi32(acc[r][0], _mm512_srai_epi32(acc[r][1], 2));
      const __m512i high =
          _mm512_add_epi32(_mm512_srai_epi32(acc[r][2], 4), _mm512_srai_epi32(acc[r][3], 6));
      total[r] = _mm512_add_epi32(total[r], _mm512_add_epi32(low, high));
    }
    col_tiles -= tiles;
  }
  for (int r = 0; r < R; ++r) Store(y + 16 * r, total[r]);
}

void GemvBlocks(const uint8_t* tiled, int64_t col_tiles, const int8_t* x, int32_t* y, int64_t first,
                int64_t end) {
  const int32_t sum = SumOf(x, col_tiles * kTileCols);
  const int64_t bytes = col_tiles * kTileBytes;
  int64_t block = first;
  for (; block + 4 <= end; block += 4)
    MultiplyOne<4>(tiled + block * bytes, bytes, col_tiles, x, sum, y + 16 * block);
  if (block + 2 <= end) {
    MultiplyOne<2>(tiled + block * bytes, bytes, col_tiles, x, sum, y + 16 * block);
    block += 2;
  }
  if (block < end) MultiplyOne<1>(tiled + block * bytes, bytes, col_tiles, x, sum, y + 16 * block);
}

// What a group of tokens is multiplied with: R row blocks, `tiles` column tiles.
struct Operands {
  const uint8_t* w;     // packed tiles, or codes [4 * tiles][R][64]
  int64_t block_bytes;  // from one row block to the next (packed tiles)
  int64_t tiles;
  const int8_t* x;      // [4 * tiles][T] groups of four activations
  const int32_t* sums;  // [T] sums of the activations in x
  bool add;             // to what y holds, else y is set
  int32_t* y;
  int64_t y_stride;
};

// kUnpacked: w holds codes; else packed tiles.
template <int R, int T, bool kUnpacked>
void MultiplyGroup(const Operands& o) {
  __m512i acc[R][T];
#pragma clang loop unroll(full)
  for (int t = 0; t < T; ++t) {
    const __m512i start = _mm512_set1_epi32(-o.sums[t]);
#pragma clang loop unroll(full)
    for (int r = 0; r < R; ++r) {
      acc[r][t] = o.add ? _mm512_add_epi32(Load(o.y + t * o.y_stride + 16 * r), start) : start;
    }
  }
  const __m512i three = _mm512_set1_epi8(3);
  const int64_t block_bytes = o.block_bytes;
  const uint8_t* w = o.w;
  const int8_t* x = o.x;
  for (int64_t tile = 0; tile < o.tiles; ++tile) {
    __m512i raw[R];
    if constexpr (!kUnpacked) {
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) {
        raw[r] = Load(w + r * block_bytes);
        _mm_prefetch(w + r * block_bytes + kPrefetchBytes, _MM_HINT_T0);
      }
    }
#pragma clang loop unroll(full)
    for (int part = 0; part < 4; ++part) {
      __m512i code[R];
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) {
        code[r] = kUnpacked ? Load(w + (part * R + r) * 64)
                            : _mm512_and_si512(_mm512_srli_epi32(raw[r], 2 * part), three);
      }
#pragma clang loop unroll(full)
      for (int t = 0; t < T; ++t) {
        const __m512i b = Broadcast4(x + 4 * (part * T + t));
#pragma clang loop unroll(full)
        for (int r = 0; r < R; ++r) acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], code[r], b);
      }
    }
    w += kUnpacked ? 4 * R * 64 : kTileBytes;
    x += 16 * T;
  }
#pragma clang loop unroll(full)
  for (int t = 0; t < T; ++t) {
#pragma clang loop unroll(full)
    for (int r = 0; r < R; ++r) Store(o.y + t * o.y_stride + 16 * r, acc[r][t]);
  }
}

using GroupFn = void (*)(const Operands&);
#define TRITTER_GROUP_FNS(R, U) \
  {nullptr,                     \
   MultiplyGroup<R, 1, U>,      \
   MultiplyGroup<R, 2, U>,      \
   MultiplyGroup<R, 3, U>,      \
   MultiplyGroup<R, 4, U>,      \
   MultiplyGroup<R, 5, U>,      \
   MultiplyGroup<R, 6, U>,      \
   MultiplyGroup<R, 7, U>,      \
   MultiplyGroup<R, 8, U>,      \
   MultiplyGroup<R, 9, U>,      \
   MultiplyGroup<R, 10, U>,     \
   MultiplyGroup<R, 11, U>,     \
   MultiplyGroup<R, 12, U>}
// [unpacked][row blocks - 1][tokens]
constexpr GroupFn kGroupFns[2][2][kMaxGroup + 1] = {
    {TRITTER_GROUP_FNS(1, false), TRITTER_GROUP_FNS(2, false)},
    {TRITTER_GROUP_FNS(1, true), TRITTER_GROUP_FNS(2, true)}};
#undef TRITTER_GROUP_FNS

// x [tokens, x_stride] from some column on -> packed [cols / 4][tokens] groups of four; sums of
// those columns.
void PackGroup(const int8_t* x, int64_t x_stride, int64_t tokens, int64_t cols, int8_t* packed,
               int32_t* sums) {
  for (int64_t t = 0; t < tokens; ++t) {
    const int8_t* row = x + t * x_stride;
    sums[t] = SumOf(row, cols);
    int8_t* out = packed + 4 * t;
    for (int64_t c = 0; c < cols; c += 4, out += 4 * tokens) __builtin_memcpy(out, row + c, 4);
  }
}

// Tiles of R row blocks -> codes [4 * tiles][R][64].
void UnpackPanel(const uint8_t* w, int64_t block_bytes, int64_t tiles, int64_t blocks,
                 uint8_t* codes) {
  const __m512i three = _mm512_set1_epi8(3);
  for (int64_t r = 0; r < blocks; ++r) {
    uint8_t* out = codes + r * 64;
    for (int64_t tile = 0; tile < tiles; ++tile, out += 4 * blocks * 64) {
      const __m512i raw = Load(w + r * block_bytes + tile * kTileBytes);
      Store(out, _mm512_and_si512(raw, three));
      Store(out + blocks * 64, _mm512_and_si512(_mm512_srli_epi32(raw, 2), three));
      Store(out + 2 * blocks * 64, _mm512_and_si512(_mm512_srli_epi32(raw, 4), three));
      Store(out + 3 * blocks * 64, _mm512_and_si512(_mm512_srli_epi32(raw, 6), three));
    }
  }
}

// Up to kMaxTokens tokens, split evenly into groups.
void GemmTokens(const uint8_t* tiled, int64_t col_tiles, const int8_t* x, int64_t x_stride,
                int64_t tokens, int32_t* y, int64_t y_stride, int64_t first, int64_t end) {
  const int64_t groups = (tokens + kMaxGroup - 1) / kMaxGroup;
  const bool unpack = groups > 1;
  const int64_t chunk_tiles =
      unpack ? kPanelCols / kTileCols : kKernelScratchBytes / (tokens * kTileCols);
  const int64_t block_bytes = col_tiles * kTileBytes;
  uint8_t* const codes = KernelScratch();
  int8_t* const packed = reinterpret_cast<int8_t*>(unpack ? codes + 32 * kPanelCols : codes);
  int32_t sums[kMaxTokens];

  for (int64_t tile = 0; tile < col_tiles; tile += chunk_tiles) {
    const int64_t tiles = Min(chunk_tiles, col_tiles - tile), cols = tiles * kTileCols;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t from = g * tokens / groups, to = (g + 1) * tokens / groups;
      PackGroup(x + from * x_stride + tile * kTileCols, x_stride, to - from, cols,
                packed + from * cols, sums + from);
    }
    for (int64_t block = first; block < end; block += 2) {
      const int64_t blocks = Min(2, end - block);
      const uint8_t* w = tiled + block * block_bytes + tile * kTileBytes;
      if (unpack) UnpackPanel(w, block_bytes, tiles, blocks, codes);
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t from = g * tokens / groups, to = (g + 1) * tokens / groups;
        kGroupFns[unpack][blocks - 1][to - from]({unpack ? codes : w, block_bytes, tiles,
                                                  packed + from * cols, sums + from, tile > 0,
                                                  y + from * y_stride + 16 * block, y_stride});
      }
    }
  }
}

}  // namespace

void TernaryGemmAvx512Vnni(const uint8_t* tiled, int64_t rows, int64_t cols, const int8_t* x,
                           int64_t x_stride, int64_t tokens, int32_t* y, int64_t y_stride,
                           int64_t first_block, int64_t end_block) {
  static_cast<void>(rows);  // padding rows hold code 1 and come out as 0
  const int64_t col_tiles = (cols + kTileCols - 1) / kTileCols;
  if (tokens == 1) return GemvBlocks(tiled, col_tiles, x, y, first_block, end_block);
  const int64_t parts = (tokens + kMaxTokens - 1) / kMaxTokens;
  for (int64_t p = 0; p < parts; ++p) {
    const int64_t from = p * tokens / parts, to = (p + 1) * tokens / parts;
    GemmTokens(tiled, col_tiles, x + from * x_stride, x_stride, to - from, y + from * y_stride,
               y_stride, first_block, end_block);
  }
}

}  // namespace tritter
