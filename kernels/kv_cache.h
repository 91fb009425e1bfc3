// Keys and values of a sequence in pages, and attention over them: what serving keeps, in FP32,
// BF16 or INT4, and what training's evaluation reads through the same functions.
//
// A page holds kKvPagePositions positions of one KV head. Attention is that of kernels/float_ops.h
// (AttendRow) over the values as stored, bit for bit, whatever the format and the instruction set.
//
// INT4: groups of 32 along D with an FP16 scale and an FP16 minimum per (position, head, group):
// value = minimum + scale * code, code 0..15. The minimum is rounded down and the scale up to FP16,
// so that the error is at most scale / 2; a group of equal values has scale 0 and the value rounded
// to FP16. Values beyond +-65504 are clamped; a group that holds NaN or infinity is NaN.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention_mask.h"

namespace tritter {

enum class KvFormat { kF32, kBf16, kInt4 };

inline constexpr int64_t kKvPagePositions = 16;
// Bytes of one page of one KV head of width d, a multiple of 64.
int64_t KvPageBytes(KvFormat format, int64_t d);
// Writes k and v [d] into slot (0..15) of a page, aligned to 4 bytes. The other slots stay; one
// thread at a time writes a page (INT4 positions share words).
void KvStore(KvFormat format, const float* k, const float* v, int64_t d, int64_t slot,
             uint8_t* page);
// What a slot holds, as attention reads it: k, v [d].
void KvLoad(KvFormat format, const uint8_t* page, int64_t d, int64_t slot, float* k, float* v);

// Queries that share a KV head. Query i sees the positions seen[i] (KeysOf), none of whose three
// numbers falls from one query to the next; its vector is q + q_at[i], its result goes to
// out + out_at[i].
inline constexpr int64_t kMaxQueries = 24;
struct KvQueries {
  int64_t count;  // 1 … kMaxQueries
  const float* q;
  float* out;
  int64_t q_at[kMaxQueries], out_at[kMaxQueries];
  KeyRanges seen[kMaxQueries];
};
// Position p is slot p mod 16 of the page at pages[p / 16] + offset (bytes). Pages of which no
// query sees a position are not read: they need not be there.
struct KvPages {
  KvFormat format;
  const uint8_t* const* pages;
  int64_t offset;
  int64_t d;
};
// Floats of scratch that AttendKv needs, best aligned to 64 bytes. `positions`: the last query's
// `end` and, where there are sinks, the positions of their pages once more.
int64_t KvScratchFloats(int64_t d, int64_t positions, int64_t queries);
void AttendKv(const KvPages& kv, const KvQueries& queries, float* scratch);

// The function above for one instruction set.
struct KvOps {
  const char* name;  // "baseline", "avx2", "avx512"
  decltype(&tritter::AttendKv) attend;
};
// Those that this CPU can run, slowest first. For tests (all must agree bit for bit).
std::vector<const KvOps*> SupportedKvOps();

}  // namespace tritter
