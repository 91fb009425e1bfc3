// manifest.json of a committed checkpoint: which files belong to it, with sizes and hashes. A
// reader trusts only a manifest whose sizes and hashes match. Written by the coordinator, read by
// workers and export; where it lies: checkpoint_store.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

struct ManifestFile {
  std::string name;  // within the checkpoint, no slash
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

std::string ManifestToJson(const CheckpointManifest& manifest);
// DataLoss when it is damaged: an unknown or missing key, a wrong type, a file name that leads out
// of the folder, files not sorted. `path` is for messages.
absl::StatusOr<CheckpointManifest> ManifestFromJson(absl::string_view json, absl::string_view path);

// Tensor names inside the shares: "weight/<parameter>", "adam_m/<parameter>", "adam_v/<parameter>",
// "ema/<parameter>" (all F32). Each is in exactly one share.

}  // namespace tritter
