// Where the moments and the averaged weights of each parameter stand in the flat arrays of the
// optimiser, on a CPU and on a device alike.
#pragma once

#include <cstdint>
#include <vector>

#include "model/parameter_groups.h"
#include "model/run_spec.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Of one parameter: the first element in each array, -1 where it has nothing of the kind.
struct StatePlaces {
  ParameterGroup group;
  bool kept = false;  // on this rank; otherwise every place is -1
  int64_t average = -1;
  int64_t m = -1;  // AdamW's first moment or Muon's momentum, FP32
  int64_t v = -1;  // AdamW's second moment, FP32
  // AdamW's moments in 8 bits: codes and block scales of the first moment, and of the root of the
  // second one.
  int64_t m_codes = -1, m_scales = -1, root_codes = -1, root_scales = -1;
  // With sync outer: what this rank's codes lacked so far, and the momentum of the rounds.
  int64_t residual = -1, outer_momentum = -1;
};

struct StateLayout {
  std::vector<StatePlaces> slots;  // in the order of the parameters
  bool keeps_all = true;
  int64_t average = 0, m = 0, v = 0, codes = 0, scales = 0;  // elements of each array
  int64_t residual = 0, outer_momentum = 0;
};

// Of those parameters whose owner, by slot (AssignShares), is `rank`. Parameters that follow each
// other and are kept follow each other in every array.
StateLayout LayoutOf(const RunSpec& spec, const std::vector<ParameterSlot>& slots,
                     const std::vector<int>& owners, int rank);

}  // namespace tritter
