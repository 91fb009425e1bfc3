#include "inference/rope_cache.h"

#include "kernels/float_ops.h"

namespace tritter {

void RopeCache::Ensure(int64_t position) {
  const int64_t half = head_dim_ / 2;
  while (static_cast<int64_t>(stretches_.size()) <= position / kStretch) {
    const int64_t first = static_cast<int64_t>(stretches_.size()) * kStretch;
    std::vector<float> table(static_cast<size_t>(2 * kStretch * half));
    RopeTable(theta_, head_dim_, first, kStretch, table.data(), table.data() + kStretch * half);
    stretches_.push_back(std::move(table));
  }
}

}  // namespace tritter
