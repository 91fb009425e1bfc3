// Checkpoints of a run in a folder that coordinator and workers share, docs/formats/checkpoint.md:
// step-N.tmp-<attempt>/ while it is written, renamed to step-N/ when all of it is durable.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/checkpoint_store.h"

namespace tritter {

// The store of the run that lies in `run_dir`. `env` outlives it.
std::unique_ptr<CheckpointStore> CheckpointsOfRun(Env* env, const std::string& run_dir);

// One committed checkpoint by its folder, wherever that was moved or copied to. Errors as
// CheckpointStore::Open.
absl::StatusOr<std::unique_ptr<CheckpointReader>> OpenCheckpointFolder(Env* env,
                                                                       const std::string& folder);

std::string CheckpointFolderName(int64_t step);                   // "step-00000200"
std::string AttemptFolderName(const CheckpointAttempt& attempt);  // "step-00000200.tmp-<name>"

}  // namespace tritter
