// The checkpoint an epoch starts from: found, checked against what the coordinator named, every
// byte verified.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/checkpoint_manifest.h"

namespace tritter {

struct StartCheckpoint {
  std::string folder;
  CheckpointManifest manifest;
};

// Errors: NotFound (no such folder or file), DataLoss (manifest.json is not the one whose SHA-256
// was ordered, or belongs to another run or step; a share's size or hash differs), naming file,
// actual and expected.
absl::StatusOr<StartCheckpoint> VerifyStartCheckpoint(Env* env, const std::string& run_dir,
                                                      const std::string& run_id, int64_t step,
                                                      const std::string& manifest_sha256);

}  // namespace tritter
