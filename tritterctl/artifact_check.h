// Reads a file or folder of ours from end to end and says whether it is whole: .tpack,
// .safetensors or its index, a shard folder, a Hugging Face folder. Checkpoints:
// checkpoint_check.h.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "tritterctl/proto_json.h"

namespace tritter {

struct ArtifactCheck {
  std::string kind;     // "tpack", "safetensors", "shards", "hf"
  std::string summary;  // one line of what is in it
  OrderedJson facts;
};

// Errors: NotFound, DataLoss (file, offset, expected, actual), InvalidArgument (nothing of ours).
absl::StatusOr<ArtifactCheck> CheckArtifact(Env* env, const std::string& path);

}  // namespace tritter
