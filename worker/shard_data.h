// The data of a run out of shards: which sequence stands at which slot, and the held-out windows.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "worker/epoch_parts.h"

namespace tritter {

// Opens every source of the run (training part, and held-out part where there is one). The sample
// at a slot is a pure function of (seed, slot); a predicted token weighs what its document weighs.
// Errors: NotFound, DataLoss, FailedPrecondition (sources of different tokenizers) as
// TokenSource::Open; InvalidArgument (a source too short for one sample); from Read also DataLoss
// for an id beyond the model's vocabulary.
absl::StatusOr<std::unique_ptr<EpochData>> OpenShardData(Env* env, const RunSpec& spec);

}  // namespace tritter
