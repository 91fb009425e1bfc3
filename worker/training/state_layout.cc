#include "worker/training/state_layout.h"

#include <utility>

#include "kernels/optimizer_ops.h"

namespace tritter {

StateLayout LayoutOf(const RunSpec& spec, const std::vector<ParameterSlot>& slots,
                     const std::vector<int>& owners, int rank) {
  StateLayout layout;
  // The next `count` elements of an array.
  const auto take = [](int64_t* used, int64_t count) {
    *used += count;
    return *used - count;
  };
  for (size_t i = 0; i < slots.size(); ++i) {
    const int64_t size = slots[i].size, blocks = MomentBlocks(size);
    StatePlaces places;
    places.group = GroupOf(spec, slots[i].spec);
    places.kept = owners[i] == rank;
    layout.keeps_all = layout.keeps_all && places.kept;
    if (places.kept) {
      places.average = take(&layout.average, size);
      if (KeepsResidual(spec)) places.residual = take(&layout.residual, size);
      if (KeepsOuterMomentum(spec)) places.outer_momentum = take(&layout.outer_momentum, size);
      if (places.group.moments_8bit) {
        places.m_codes = take(&layout.codes, size);
        places.m_scales = take(&layout.scales, blocks);
        places.root_codes = take(&layout.codes, size);
        places.root_scales = take(&layout.scales, blocks);
      } else {
        places.m = take(&layout.m, size);
        if (places.group.optimizer == OptimizerKind::kAdamW) places.v = take(&layout.v, size);
      }
    }
    layout.slots.push_back(std::move(places));
  }
  return layout;
}

}  // namespace tritter
