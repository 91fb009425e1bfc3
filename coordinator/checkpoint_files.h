// The commit protocol of checkpoints on the shared file system: an attempt's folder becomes step-N,
// or stays an attempt.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/checkpoint_manifest.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {

// Every share of the attempt is durable in dir/step-N.tmp-<attempt>: writes manifest.json there,
// syncs file and folder, renames the folder to dir/step-N and syncs `dir`. May be repeated after
// any failure. Returns the checkpoint as it is recorded (without time). A folder step-N that is
// there already and is another one was never recorded: it is replaced. Errors: those of Env;
// DataLoss when the attempt's folder is gone.
absl::StatusOr<v1::Checkpoint> CommitCheckpointFolder(Env* env, const std::string& dir,
                                                      const CheckpointManifest& manifest);

// The manifest is the recorded one, sizes and hashes match. DataLoss or NotFound saying what is
// wrong.
absl::Status VerifyRecordedCheckpoint(Env* env, const v1::Checkpoint& checkpoint);

struct RecoveredFolders {
  std::vector<v1::Checkpoint>
      adopted;  // renamed before a crash, whole, not yet recorded; oldest first
  std::vector<std::string>
      removed;  // folders of dead attempts, and step-N that is neither recorded nor whole
};

// Tidies `dir` after a crash. `recorded`: steps in the store. `live_attempt`: kept; empty when no
// epoch is live.
absl::StatusOr<RecoveredFolders> RecoverCheckpointFolders(Env* env, const std::string& dir,
                                                          const std::string& run_id,
                                                          const std::set<int64_t>& recorded,
                                                          const std::string& live_attempt);

}  // namespace tritter
