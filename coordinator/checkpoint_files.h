// Committed checkpoints as the coordinator records them, and what a crash left between the store
// of checkpoints and the records.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint_store.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {

// As it is recorded, without time.
v1::Checkpoint DescribeCheckpoint(const CheckpointReader& checkpoint);

// The files of `from`, copied, become a checkpoint of another run: `manifest` names the same files.
// Errors: those of both stores.
absl::StatusOr<v1::Checkpoint> CopyCheckpoint(const CheckpointReader& from, CheckpointStore* to,
                                              const CheckpointManifest& manifest);

// The manifest is the recorded one, sizes and hashes match. DataLoss or NotFound saying what is
// wrong.
absl::Status VerifyRecordedCheckpoint(CheckpointStore* store, const v1::Checkpoint& checkpoint);

struct RecoveredCheckpoints {
  std::vector<v1::Checkpoint>
      adopted;  // committed before a crash, whole, not yet recorded; oldest first
  std::vector<std::string> removed;  // dead attempts, and checkpoints neither recorded nor whole
};

// Tidies the store after a crash. `recorded`: steps that are known. `live_attempt`: kept; empty
// when no epoch is live.
absl::StatusOr<RecoveredCheckpoints> RecoverCheckpoints(CheckpointStore* store,
                                                        const std::string& run_id,
                                                        const std::set<int64_t>& recorded,
                                                        const std::string& live_attempt);

}  // namespace tritter
