// Starting an epoch from a state that members still have in memory, instead of from a checkpoint.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "worker/collective.h"
#include "worker/training/trainer.h"

namespace tritter {

// All ranks of the epoch together. Those that `hold` the state after `step` steps go on with it,
// the others get that of `root`; then all compare hashes, so that none trains on with another
// state than the rest. Errors, of the last two each rank gets the same: the collective's; NotFound
// (`root` holds no such state and somebody needs it); DataLoss (states differ, naming the ranks).
absl::Status StartFromMemory(int64_t step, int root, bool hold, Collective* collective,
                             Trainer* trainer);

}  // namespace tritter
