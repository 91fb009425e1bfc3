// Checkpoint folder in, deployable file out. Used by the coordinator when a run completes and by
// `tritterctl export`.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/config.h"

namespace tritter {

struct ExportOptions {
  std::string format = "tpack";  // "tpack", "safetensors"
  bool raw = false;              // raw instead of averaged weights
};
// Whether a model of this configuration has this form; also for a run's admission, hours before
// there is a checkpoint. Errors: InvalidArgument (unknown format), those of CheckPackable (tpack).
absl::Status CheckExportable(const ModelConfig& config, const ExportOptions& options);

struct ExportResult {
  std::string path;
  uint64_t bytes = 0;
  std::string sha256;
  int64_t step = 0;
};

// Verifies the checkpoint (sizes and hashes), writes `path`.unverified one tensor in memory at a
// time, reads it back and checks all of it, and only then renames it to `path`: an older file there
// is whole until the new one is. Parent folders are made. A tpack needs twice its size on disk for
// a while. Errors: those of CheckExportable; NotFound (folder; averaged weights that the checkpoint
// does not hold), DataLoss (checkpoint, or the disk gives back other bytes than were written),
// FailedPrecondition (NaN or infinity in the weights), ResourceExhausted (disk).
absl::StatusOr<ExportResult> ExportCheckpoint(Env* env, const std::string& checkpoint_folder,
                                              const std::string& path,
                                              const ExportOptions& options);

}  // namespace tritter
