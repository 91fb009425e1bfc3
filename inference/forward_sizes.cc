#include "inference/forward_sizes.h"

#include <algorithm>

#include "inference/kv_pages.h"
#include "inference/rope_cache.h"
#include "kernels/cpu/scratch.h"
#include "kernels/kv_cache.h"
#include "kernels/row_quantised.h"

namespace tritter {
namespace {

// Accumulators of one call of a matrix kernel: small enough to stay in the cache until they are
// dequantised.
constexpr int64_t kAccumulators = 16384;
constexpr int64_t kMostBlocks = 64;
// Large blocks come from the system in whole pages: of 12 buffers, and 6 of each thread.
constexpr int64_t kRounding = 4096;
// Scores grow in such steps and not with every token.
constexpr int64_t kPositionsStep = 256;

int64_t Up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

int64_t LogitRowsAtOnce(int64_t vocabulary, int64_t logit_floats) {
  return std::max<int64_t>(logit_floats / vocabulary, 1);
}

int64_t BlocksAtOnce(int64_t rows) {
  return std::clamp(kAccumulators / (16 * rows) / kLeastBlocks * kLeastBlocks, kLeastBlocks,
                    kMostBlocks);
}

ForwardSizes::ForwardSizes(const ModelConfig& c, int threads, int64_t logit_rows,
                           const ForwardBatch& batch) {
  const int64_t query = c.heads * c.head_dim, key = c.kv_heads * c.head_dim;
  const int64_t widest = std::max({c.hidden, query, c.ffn});
  x = batch.rows * c.hidden;
  qkv = batch.rows * (query + 2 * key);
  heads = batch.rows * query;
  inner = batch.rows * c.ffn;
  x8 = batch.rows * Up(widest, 16);
  sums = inv = batch.rows;
  digits = batch.logits * SplitStride(c.hidden);
  final = batch.results * c.hidden;
  logits = std::min(batch.logits, logit_rows) * c.vocab;
  // Of any batch up to this one: BlocksAtOnce is for fewer rows larger.
  accumulators = std::max(kAccumulators, 16 * kLeastBlocks * batch.rows);
  queries = std::clamp<int64_t>(batch.rows * c.heads / threads, 1, kMaxQueries);
  const int64_t seen = Up(batch.positions, kPositionsStep) + KvPagesFor(c.sinks) * kKvPagePositions;
  attention = KvScratchFloats(c.head_dim, seen, queries);
  row8 = Up(widest, 16);
  expanded = kExpandedRows * c.hidden;
}

int64_t ForwardBytes(const ModelConfig& config, int threads, const ForwardBatch& largest,
                     int64_t logit_floats) {
  const ForwardSizes s(config, threads, LogitRowsAtOnce(config.vocab, logit_floats), largest);
  const int64_t shared =
      4 * (s.x + s.qkv + s.heads + s.inner + s.sums + s.inv + s.final + s.logits) + s.x8 +
      2 * s.digits;
  const int64_t thread = 4 * (2 * s.accumulators + s.attention + s.expanded) + s.row8;
  return shared + 12 * kRounding + threads * (thread + 6 * kRounding + kKernelScratchBytes) +
         RopeCache::Bytes(config.head_dim, largest.positions);
}

}  // namespace tritter
