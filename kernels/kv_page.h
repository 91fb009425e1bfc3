// Where things lie in a page of the KV cache, for the code that writes pages and the one that reads
// them (kernels/kv_cache.h). static: every unit its own, none compiled for a wider instruction set
// is shared.
//
// FP32  keys [d][16 positions], values [16][d], floats.
// BF16  keys [pairs of dimensions][16][2], values [16][blocks of 32 dimensions][16][2]: lane i of a
//       word holds dimensions 32b + i and 32b + 16 + i, so that one shift and one mask give sixteen
//       neighbours each. d is padded to a multiple of 32.
// INT4  keys [8 dimensions][16 positions] words of eight codes, the first in the lowest bits;
// values
//       [2 halves of 8 positions][d] words of eight codes, one a position; then four arrays of FP16
//       [groups][16 positions]: scales and minima of the keys, then of the values. d is padded to a
//       multiple of 32.
#pragma once

#include <cstdint>

namespace tritter {

constexpr int64_t kKvGroup = 32;  // dimensions that share an INT4 scale

static constexpr int64_t KvGroups(int64_t d) { return (d + kKvGroup - 1) / kKvGroup; }
static constexpr int64_t KvPadded(int64_t d) { return KvGroups(d) * kKvGroup; }

// Floats from one query's scores to the next one's: lines of their own, and not a power of two, so
// that rows do not share one set of the cache.
static inline int64_t KvScoreStride(int64_t positions) { return (positions + 15) / 16 * 16 + 16; }

struct Int4Page {
  int64_t value_codes, key_scales, key_minima, value_scales, value_minima, end;  // bytes
};
static constexpr Int4Page Int4PageOf(int64_t d) {
  const int64_t codes = KvPadded(d) * 16 / 2, numbers = KvGroups(d) * 16 * 2;
  return {codes,
          2 * codes,
          2 * codes + numbers,
          2 * codes + 2 * numbers,
          2 * codes + 3 * numbers,
          2 * codes + 4 * numbers};
}

// Index of 16-bit numbers: dimension i of slot `slot` among the keys, among the values.
static constexpr int64_t Bf16Key(int64_t i, int64_t slot) { return i / 2 * 32 + slot * 2 + i % 2; }
static constexpr int64_t Bf16Value(int64_t i, int64_t slot, int64_t padded) {
  return slot * padded + i / 32 * 32 + i % 16 * 2 + i / 16 % 2;
}

// Word and nibble in it of a code.
struct NibblePlace {
  int64_t word, nibble;
};
static constexpr NibblePlace KeyPlace(int64_t i, int64_t slot) {
  return {i / 8 * 16 + slot, i % 8};
}
static constexpr NibblePlace ValuePlace(int64_t i, int64_t slot, int64_t padded) {
  return {slot / 8 * padded + i, slot % 8};
}

}  // namespace tritter
