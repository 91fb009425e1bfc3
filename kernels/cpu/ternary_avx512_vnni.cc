// How it works. A tile's 64 bytes shifted right by 2t and masked with 3 are, lane by lane, the
// codes of columns 4t..4t+3 of 16 rows: the unsigned operand of vpdpbusd, whose signed operand is
// four activations of one token, broadcast. Codes are 0..2 for -1..1, so a token's sum of
// activations is subtracted once from every row.
//
// - One token (decode): bound by the bytes of the weights. Masked without shifting, the four column
// groups are 1, 4, 16
//   and 64 times too large and have an accumulator each, shifted back at the end: one load, four
//   ands and four products a tile. Four row blocks at a time share the broadcasts.
// - Up to kPackedGroups groups of tokens: codes are made in registers and used for all tokens of 2
// row blocks (up to 24 accumulators).
// - More: the codes of kSetBlocks row blocks x kPanelCols columns are unpacked once into the second
// cache, by the first group while it multiplies, and used by every other group.
//
// Packed tiles are fetched the next row blocks ahead: of a few short streams the hardware alone
// does not keep memory busy (12 against 14 GB/s on one Ice Lake core).
#include "kernels/cpu/ternary_avx512_vnni.h"

#include <immintrin.h>

#include "kernels/cpu/scratch.h"

namespace tritter {
namespace {

constexpr int64_t kTileCols = 16, kTileBytes = 64;
constexpr int64_t kMaxGroup = kTokenGroup;  // accumulators of 2 row blocks fit the registers
constexpr int64_t kPackedGroups = 3;        // up to here codes are made anew for every group
constexpr int64_t kPanelCols = 2048;        // of what is unpacked: a group's part fits 32 KiB
constexpr int64_t kSetBlocks = 8;           // row blocks unpacked together
constexpr int64_t kSingleChunk =
    262144;  // columns before a 64-fold accumulator could overflow: 6144 * cols < 2^31

static_assert(kSetBlocks * 16 * kPanelCols <= kKernelScratchBytes);
static_assert(kMaxGroup == 12);

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
inline __m512i Load(const void* p) { return _mm512_loadu_si512(p); }
inline void Store(void* p, __m512i v) { _mm512_storeu_si512(p, v); }

inline __m512i Broadcast4(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
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
      for (int r = 0; r < R; ++r) {
        raw[r] = Load(w + r * block_bytes);
        _mm_prefetch(w + (r + R) * block_bytes, _MM_HINT_T0);
      }
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

void GemvBlocks(const uint8_t* tiled, int64_t col_tiles, const int8_t* x, int32_t sum, int32_t* y,
                int64_t blocks) {
  const int64_t bytes = col_tiles * kTileBytes;
  int64_t block = 0;
  for (; block + 4 <= blocks; block += 4)
    MultiplyOne<4>(tiled + block * bytes, bytes, col_tiles, x, sum, y + 16 * block);
  if (block + 2 <= blocks) {
    MultiplyOne<2>(tiled + block * bytes, bytes, col_tiles, x, sum, y + 16 * block);
    block += 2;
  }
  if (block < blocks)
    MultiplyOne<1>(tiled + block * bytes, bytes, col_tiles, x, sum, y + 16 * block);
}

// What a group of tokens is multiplied with: R row blocks, `tiles` column tiles.
struct Operands {
  const uint8_t* w;     // packed tiles, or codes [4 * tiles][R][64]
  int64_t block_bytes;  // from one row block to the next (packed tiles)
  uint8_t* codes;       // where to leave the codes (kUnpacking), aligned to 64
  int64_t tiles;
  const int8_t* x;      // [4 * tiles][T] groups of four activations
  const int32_t* sums;  // [T] sums of the tokens' activations, over all columns
  bool add;             // to what y holds (columns before these); else y is set
  int32_t* y;
  int64_t y_stride;
};

// What w holds: packed tiles, packed tiles whose codes are kept, or such codes.
enum Form { kPacked, kUnpacking, kUnpacked };

template <int R, int T, Form F>
void MultiplyGroup(const Operands& o) {
  __m512i acc[R][T];
#pragma clang loop unroll(full)
  for (int t = 0; t < T; ++t) {
    const __m512i start = _mm512_set1_epi32(-o.sums[t]);
#pragma clang loop unroll(full)
    for (int r = 0; r < R; ++r) acc[r][t] = o.add ? Load(o.y + t * o.y_stride + 16 * r) : start;
  }
  const __m512i three = _mm512_set1_epi8(3);
  const int64_t block_bytes = o.block_bytes;
  const uint8_t* w = o.w;
  uint8_t* codes = o.codes;
  const int8_t* x = o.x;
  for (int64_t tile = 0; tile < o.tiles; ++tile) {
    __m512i raw[R];
    if constexpr (F != kUnpacked) {
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) {
        raw[r] = Load(w + r * block_bytes);
        _mm_prefetch(w + (r + R) * block_bytes, _MM_HINT_T0);
      }
    }
#pragma clang loop unroll(full)
    for (int part = 0; part < 4; ++part) {
      __m512i code[R];
#pragma clang loop unroll(full)
      for (int r = 0; r < R; ++r) {
        if constexpr (F == kUnpacked) {
          code[r] = Load(w + (part * R + r) * 64);
        } else {
          code[r] = _mm512_and_si512(_mm512_srli_epi32(raw[r], 2 * part), three);
          if constexpr (F == kUnpacking) Store(codes + (part * R + r) * 64, code[r]);
        }
      }
#pragma clang loop unroll(full)
      for (int t = 0; t < T; ++t) {
        const __m512i b = Broadcast4(x + 4 * (part * T + t));
#pragma clang loop unroll(full)
        for (int r = 0; r < R; ++r) acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], code[r], b);
      }
    }
    w += F == kUnpacked ? 4 * R * 64 : kTileBytes;
    if constexpr (F == kUnpacking) codes += 4 * R * 64;
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
// [form][row blocks - 1][tokens]
constexpr GroupFn kGroupFns[3][2][kMaxGroup + 1] = {
    {TRITTER_GROUP_FNS(1, kPacked), TRITTER_GROUP_FNS(2, kPacked)},
    {TRITTER_GROUP_FNS(1, kUnpacking), TRITTER_GROUP_FNS(2, kUnpacking)},
    {TRITTER_GROUP_FNS(1, kUnpacked), TRITTER_GROUP_FNS(2, kUnpacked)}};
#undef TRITTER_GROUP_FNS

// Groups of tokens that read packed tiles: they stay in the first cache from one group to the next.
void MultiplyPacked(const uint8_t* tiled, int64_t col_tiles, const ArrangedActivations& x,
                    int64_t groups, int32_t* y, int64_t y_stride, int64_t blocks) {
  const int64_t block_bytes = col_tiles * kTileBytes, columns = col_tiles * kTileCols;
  for (int64_t block = 0; block < blocks; block += 2) {
    const int64_t pair = Min(2, blocks - block);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t from = FirstOfGroup(x.tokens, g), to = FirstOfGroup(x.tokens, g + 1);
      kGroupFns[kPacked][pair - 1][to - from]({tiled + block * block_bytes, block_bytes, nullptr,
                                               col_tiles, x.x + from * columns, x.sums + from,
                                               false, y + from * y_stride + 16 * block, y_stride});
    }
  }
}

// Many groups: the codes of kSetBlocks row blocks x kPanelCols columns are unpacked once, and every
// group's activations come into the first cache once for all of them.
void MultiplyUnpacked(const uint8_t* tiled, int64_t col_tiles, const ArrangedActivations& x,
                      int64_t groups, int32_t* y, int64_t y_stride, int64_t blocks) {
  const int64_t block_bytes = col_tiles * kTileBytes, columns = col_tiles * kTileCols;
  uint8_t* const codes = KernelScratch();
  for (int64_t set = 0; set < blocks; set += kSetBlocks) {
    const int64_t in_set = Min(kSetBlocks, blocks - set);
    for (int64_t tile = 0; tile < col_tiles; tile += kPanelCols / kTileCols) {
      const int64_t tiles = Min(kPanelCols / kTileCols, col_tiles - tile);
      const uint8_t* const w = tiled + set * block_bytes + tile * kTileBytes;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t from = FirstOfGroup(x.tokens, g), to = FirstOfGroup(x.tokens, g + 1);
        for (int64_t block = 0; block < in_set; block += 2) {
          uint8_t* const of_pair = codes + block * 16 * kPanelCols;
          const Operands o = {g == 0 ? w + block * block_bytes : of_pair,
                              block_bytes,
                              of_pair,
                              tiles,
                              x.x + from * columns + tile * kTileCols * (to - from),
                              x.sums + from,
                              tile > 0,
                              y + from * y_stride + 16 * (set + block),
                              y_stride};
          kGroupFns[g == 0 ? kUnpacking : kUnpacked][Min(2, in_set - block) - 1][to - from](o);
        }
      }
    }
  }
}

}  // namespace

void TernaryGemmAvx512Vnni(const uint8_t* tiled, int64_t rows, int64_t cols,
                           const ArrangedActivations& x, int32_t* y, int64_t y_stride,
                           int64_t first_block, int64_t end_block) {
  static_cast<void>(rows);  // padding rows hold code 1 and come out as 0
  const int64_t col_tiles = (cols + kTileCols - 1) / kTileCols, blocks = end_block - first_block;
  tiled += first_block * col_tiles * kTileBytes;
  const int64_t groups = TokenGroups(x.tokens);
  if (x.tokens == 1) {
    GemvBlocks(tiled, col_tiles, x.x, x.sums[0], y, blocks);
  } else if (groups <= kPackedGroups) {
    MultiplyPacked(tiled, col_tiles, x, groups, y, y_stride, blocks);
  } else {
    MultiplyUnpacked(tiled, col_tiles, x, groups, y, y_stride, blocks);
  }
}

}  // namespace tritter
