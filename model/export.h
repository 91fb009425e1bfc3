// Checkpoint folder in, deployable file out. Used by the coordinator when a run completes and by `tritterctl export`.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"

namespace tritter {

struct ExportOptions {
  std::string format = "tpack";  // "tpack", "safetensors"
  bool raw = false;              // raw instead of averaged weights
};
struct ExportResult { std::string path; uint64_t bytes = 0; std::string sha256; int64_t step = 0; };

// Verifies the checkpoint (sizes and hashes), then writes `path` atomically, one tensor in memory at a time.
// Errors: DataLoss (checkpoint), NotFound, ResourceExhausted (disk), InvalidArgument (format).
absl::StatusOr<ExportResult> ExportCheckpoint(Env* env, const std::string& checkpoint_folder, const std::string& path,
                                              const ExportOptions& options);

}  // namespace tritter
