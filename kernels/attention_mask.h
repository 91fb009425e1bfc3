// Who sees whom in attention, as a rule: every mode of the specification is one setting of the
// fields below, evaluated for the queries of one tile at a time. Nothing here is as large as
// length², nor even as length.
#pragma once

#include <cstdint>

namespace tritter {

// Positions of one sequence, counted from 0. Without any field set beyond the length: causal.
//   causal           key <= query
//   sliding window   and query - key < window
//   sinks + window   or key < sinks (still causal)
//   prefix           or both below prefix; bidirectional is prefix = length
//   documents        and key >= document_start[query]
struct AttentionMask {
  int64_t length = 0;
  int64_t window = 0;  // 0: no limit
  int64_t sinks = 0;   // counted from position 0; only beside a window
  int64_t prefix = 0;  // of a mask without window and documents
  // [length]: the first position of the document of every position; null: one document.
  const int32_t* document_start = nullptr;
};

// The keys that one query sees: [0, sinks) and [begin, end), sinks <= begin < end. All three never
// fall from one query to the next but for `sinks`, which is 0 as long as the two would touch.
struct KeyRanges {
  int64_t sinks = 0, begin = 0, end = 0;
};

KeyRanges KeysOf(const AttentionMask& mask, int64_t query);
// Of `count` queries from `first` on. Called by the kernels, which share no inline code (their
// instruction sets differ).
void KeysOfTile(const AttentionMask& mask, int64_t first, int64_t count, KeyRanges* keys);
// How many (query, key) pairs the rule lets through: the work of attention.
int64_t VisiblePairs(const AttentionMask& mask);

}  // namespace tritter
