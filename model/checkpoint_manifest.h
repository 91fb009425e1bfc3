// manifest.json of a committed checkpoint folder run_dir/checkpoints/step-N: which files belong to
// it, with sizes and hashes. A reader trusts only a manifest whose sizes and hashes match. Written
// by the coordinator, read by workers and export.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"

namespace tritter {

struct ManifestFile {
  std::string name;  // relative to the folder, no slash
  uint64_t bytes = 0;
  std::string sha256;  // hex
};

struct CheckpointManifest {
  int format = 1;
  std::string run_id;
  int64_t step = 0;  // optimiser steps done
  uint64_t epoch = 0;
  std::string attempt;
  std::string spec_hash;  // SHA-256 of the effective configuration
  std::string
      spec_yaml;  // the effective configuration itself, so that a checkpoint explains itself
  std::string code_version;
  int64_t next_slot = 0;  // cursor: first global sample slot not yet trained on
  std::vector<ManifestFile>
      files;  // sorted by name; one share per rank: "share-<rank>-of-<world>.safetensors"
};

std::string CheckpointFolderName(int64_t step);  // "step-00000200"
std::string AttemptFolderName(int64_t step,
                              absl::string_view attempt);  // "step-00000200.tmp-<attempt>"
std::string ManifestToJson(const CheckpointManifest& manifest);
absl::StatusOr<CheckpointManifest> ManifestFromJson(absl::string_view json, absl::string_view path);
// NotFound when there is no manifest; DataLoss when it is damaged: an unknown or missing key, a
// wrong type, a file name that leads out of the folder, files not sorted.
absl::StatusOr<CheckpointManifest> ReadManifest(Env* env, const std::string& folder);
// Sizes always, hashes too when `hashes`. DataLoss naming the file, expected and actual.
absl::Status VerifyCheckpoint(Env* env, const std::string& folder,
                              const CheckpointManifest& manifest, bool hashes);

// Tensor names inside the shares: "weight/<parameter>", "adam_m/<parameter>", "adam_v/<parameter>",
// "ema/<parameter>" (all F32). Each is in exactly one share.

}  // namespace tritter
