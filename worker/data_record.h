// What a run was trained on, kept beside its checkpoints: the hash of every source's shard
// manifest.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "common/env.h"

namespace tritter {

// HashTokens (curation/shard_manifest.h), by source.
using DataHashes = std::map<std::string, std::string>;

// Writes run_dir/data.json unless it says so already. Rank 0 does it before its share of a
// checkpoint is committed, so that there is nothing to resume from without it.
absl::Status RecordData(Env* env, const std::string& run_dir, const DataHashes& hashes);

// Compares with what was recorded; a run without a record passes. Errors: FailedPrecondition (other
// data: source, recorded and actual hash), DataLoss (not a record), those of the file.
absl::Status CheckData(Env* env, const std::string& run_dir, const DataHashes& hashes);

}  // namespace tritter
