// How large the buffers are that a forward pass on this CPU works in: one arithmetic for who
// allocates them (forward.cc) and who admits a model by memory (engine.h).
#pragma once

#include <cstdint>

#include "model/config.h"

namespace tritter {

// Of a batch, or of the largest one that is to come.
struct ForwardBatch {
  int64_t rows = 0;
  int64_t logits = 0;     // rows that want logits
  int64_t results = 0;    // rows that want logits or hidden states
  int64_t positions = 0;  // of its longest sequence
};

inline constexpr int64_t kExpandedRows = 8;  // of a BF16 head: they stay in the first cache
inline constexpr int64_t kLogitFloats = int64_t{16} << 20;  // 64 MiB of logits at a time

// Rows of logits that are in memory at a time: at least one.
int64_t LogitRowsAtOnce(int64_t vocabulary, int64_t logit_floats);
// Row blocks that a thread takes at a time, at least: a multiple of what the kernels work on
// together.
inline constexpr int64_t kLeastBlocks = 8;
// Row blocks whose accumulators stay in the cache until they are dequantised.
int64_t BlocksAtOnce(int64_t rows);

// Elements of each buffer.
struct ForwardSizes {
  ForwardSizes(const ModelConfig& config, int threads, int64_t logit_rows,
               const ForwardBatch& batch);

  int64_t x, qkv, heads, inner;  // float, of all rows
  int64_t x8, sums, inv;         // int8, int32, float
  int64_t digits;                // int8, twice: with a quantised head
  int64_t final, logits;         // float
  // Of each thread.
  int64_t accumulators;  // int32, twice
  int64_t attention;     // float
  int64_t row8;          // int8
  int64_t expanded;      // float: with a BF16 head
  int64_t queries;       // of one KV head that attend together
};

// Bytes of all buffers, and of the rotary tables up to the last position, whatever the head is.
int64_t ForwardBytes(const ModelConfig& config, int threads, const ForwardBatch& largest,
                     int64_t logit_floats = kLogitFloats);

}  // namespace tritter
