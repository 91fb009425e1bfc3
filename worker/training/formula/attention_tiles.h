// Attention with a mask for a device: queries in tiles, each with the keys alone that one of them
// sees, and a mask no larger than that. Plain causal attention needs none of this: the device's
// fused kernel has a flag for it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/attention_mask.h"

namespace tritter {

// Queries [query, query + queries) on keys [0, sinks) and [key_begin, key_end).
struct AttentionTile {
  int64_t query = 0, queries = 0;
  int64_t sinks = 0, key_begin = 0, key_end = 0;
  // Added to the scores, 0 or -infinity: [B or 1, 1, queries, keys]; undefined: everything is seen.
  at::Tensor mask;
};

// `masks`: one for each sequence, or one for all; all of one length. Tiles of `block` queries;
// those whose masks are alike, which is most of them under a window, share one tensor. `options`:
// type and device of the scores.
std::vector<AttentionTile> AttentionTiles(absl::Span<const AttentionMask> masks, int64_t block,
                                          const at::TensorOptions& options);

// q [B, N, L, D], k and v [B, N or K, L, D] -> [B, N, L, D], recorded by autograd.
at::Tensor AttendInTiles(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const std::vector<AttentionTile>& tiles);

}  // namespace tritter
