// The checkpoint of step 0 with which a run begins that takes nothing but weights from another one.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "model/checkpoint_store.h"
#include "model/run_spec.h"

namespace tritter {

// Writes the state before the first step of a run of `spec` to `to` and commits it. Weights are
// those of `origin` (verified before), or with `averaged` its averaged ones; the averages, which go
// on from the first step as those of any run do, are origin's averaged ones in both cases. Moments
// are zero, in the form that the optimiser of `spec` keeps; every parameter of spec.model must be
// in origin with its shape. `manifest`: everything but step, cursor and files. Tensor by tensor:
// no more than one is held in memory, whatever the model.
// Errors: NotFound or DataLoss (a tensor of origin is missing or of another shape),
// FailedPrecondition (one holds NaN or infinity), those of both stores.
absl::StatusOr<std::unique_ptr<CheckpointReader>> WriteStartCheckpoint(
    const CheckpointReader& origin, bool averaged, const RunSpec& spec, CheckpointManifest manifest,
    CheckpointStore* to);

}  // namespace tritter
