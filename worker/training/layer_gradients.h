// What the autograd nodes of the CPU's layers share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/float_ops.h"
#include "worker/training/bit_linear.h"

namespace tritter {

// Sums the parts' partial gradients [size] of one range into the sink, in order of the parts.
inline void CommitParts(const LayerContext& context, int64_t offset, int64_t size,
                        const std::vector<float>& parts) {
  float* sum = context.sink->Begin(offset, size);
  std::copy_n(parts.begin(), size, sum);
  for (size_t at = size; at < parts.size(); at += size) AddRow(parts.data() + at, size, sum);
  context.sink->Commit(offset, size);
}

inline float Epsilon(const LayerContext& context) {
  return static_cast<float>(context.config->norm_eps);
}

}  // namespace tritter
