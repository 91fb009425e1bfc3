// Sizes of attention on a GPU, for code that does not know CUDA.
#pragma once

#include <cstdint>

#include "kernels/kv_cache.h"

namespace tritter::cuda {

// Attention sums over so many positions at a time; the bits of kernels/kv_cache.h up to that
// length.
inline constexpr int kSplitPositions = 256;
inline constexpr int kMaxHeadDim = 256;

struct HeadShape {
  int heads, kv_heads, dim;
  constexpr int row() const { return (heads + 2 * kv_heads) * dim; }
};

// Queries that a block of threads takes: a warp each for the softmax.
inline constexpr int kBlockQueries = 8;

// Rows [first, first + count) of one sequence at neighbouring positions, whose queries of one KV
// head attend together: at most kBlockQueries with all of `parts` parts of a group of heads.
struct RowBundle {
  int32_t first, count;
};
// What one KV head's group of heads is cut into, and rows of a bundle: none but full blocks of
// kBlockQueries where the shape allows it.
struct BundleShape {
  int parts, rows;
};
constexpr BundleShape BundleShapeOf(const HeadShape& shape) {
  const int most = kBlockQueries, group = shape.heads / shape.kv_heads;
  const int parts = (group + most - 1) / most;
  return {parts, most / ((group + parts - 1) / parts)};
}

// Floats of partial sums that attention of `rows` rows in `splits` splits needs.
constexpr int64_t PartialFloats(int heads, int dim, int64_t rows, int64_t splits) {
  return splits > 1 ? rows * heads * splits * (dim + 2) : 0;
}

}  // namespace tritter::cuda
