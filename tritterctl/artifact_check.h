// Reads a file or folder of ours from end to end and says whether it is whole: .tpack,
// GGUF, .safetensors or its index, a shard or a folder of them, a Hugging Face folder. Checkpoints:
// checkpoint_check.h.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "tritterctl/proto_json.h"

namespace tritter {

struct ArtifactCheck {
  std::string kind;     // "tpack", "safetensors", "shard", "shards", "hf", "gguf"
  std::string summary;  // one line of what is in it
  OrderedJson facts;
};

// Errors: NotFound, DataLoss (file, offset, expected, actual), InvalidArgument (of no
// kind that is known: told which are).
absl::StatusOr<ArtifactCheck> CheckArtifact(Env* env, const std::string& path);

}  // namespace tritter
