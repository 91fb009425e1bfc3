// What a run can ask for that GPUs do not train. One rule for everybody who decides: run.yaml, who
// trains a run, the worker.
#pragma once

#include <optional>
#include <string>

#include "model/run_spec.h"

namespace tritter {

// Query and key heads are normed and rotated by kernels that hold a head of this many values.
inline constexpr int64_t kWidestHeadOnCuda = 256;

// Why a worker on a GPU cannot train the run; nothing when it can.
std::optional<std::string> NotOnCuda(const RunSpec& spec);

}  // namespace tritter
