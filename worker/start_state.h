// The checkpoint an epoch starts from: found, checked against what the coordinator named, every
// byte verified.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint_store.h"

namespace tritter {

// Errors: NotFound (no such checkpoint), DataLoss (its manifest is not the one whose SHA-256 was
// ordered, or belongs to another run or step; a share's size or hash differs), naming file, actual
// and expected.
absl::StatusOr<std::unique_ptr<CheckpointReader>> OpenStartCheckpoint(
    CheckpointStore* store, const std::string& run_id, int64_t step,
    const std::string& manifest_sha256);

}  // namespace tritter
