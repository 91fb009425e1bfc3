// Heads of a forward pass on a GPU: QK norm, rotation, the paged KV cache of kernels/kv_cache.h
// (the same bytes) and attention over it. Raw device pointers; every call only starts work on
// `stream`.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_shapes.h"
#include "kernels/cuda/device.h"
#include "kernels/kv_cache.h"

namespace tritter::cuda {

// Rows of a batch, where they stand and their pages. Page i of row t is page_ids[first_page[t] +
// i], `page_bytes` each from `pool` on. A row at a negative position takes no part.
struct PagedRows {
  const int32_t *positions, *first_page, *page_ids;
  uint8_t* pool;
  int64_t page_bytes;
  int count;
};

// qkv [count, row()] of one layer whose KV heads begin at `layer_offset` bytes of a page, each
// `head_bytes`. Norms [dim] may be null; cos, sin [positions, dim / 2].
struct LayerHeads {
  HeadShape shape;
  float* qkv;
  KvFormat format;
  int64_t layer_offset, head_bytes;
  const float *q_norm, *k_norm, *cos, *sin;
  float eps;
};
// Norms and rotates queries in place; stores keys, normed and rotated, and values.
void PlaceAndStore(const LayerHeads& layer, const PagedRows& rows, cudaStream_t stream);

// out [count, heads · dim]. No row is seen beyond `splits` · kSplitPositions. partial:
// PartialFloats(shape, rows, splits), read and written when splits > 1; rows of `bundles` are
// [first_row, first_row + rows).
struct AttentionWork {
  const RowBundle* bundles;
  int bundle_count, first_row, rows, splits;
  float* partial;
  float* out;
};
void Attend(const LayerHeads& layer, const PagedRows& rows, const AttentionWork& work,
            cudaStream_t stream);

}  // namespace tritter::cuda
