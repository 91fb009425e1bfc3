// A worker that trains on a device without having one: the device trainer on the CPU.
#pragma once

#include <memory>

#include "worker/epoch_parts.h"

namespace tritter {

// Shards and groups of `real` (not owned; outlives it), the trainer on the CPU with the plain
// formulas (worker/training/formula). In a group of CPUs and GPUs buffers are staged, as a GPU's
// are.
std::unique_ptr<EpochParts> DeviceParts(EpochParts* real);

}  // namespace tritter
