// The forms that weights are exported to, each written into a folder and read back there. For
// model/export.cc.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/gguf/gguf_model.h"
#include "model/safetensors_set.h"
#include "model/text/tokenizer_files.h"
#include "model/tpack.h"
#include "model/weight_source.h"

namespace tritter {

// `folder`/`name`, the output head as `head` (F32 or row-wise). Returns the files that were
// written.
absl::StatusOr<std::vector<WrittenSetFile>> WriteTpackForm(Env* env, WeightSource* source,
                                                           const std::string& folder,
                                                           const std::string& name, TpackType head);
// `folder`/`stem`.safetensors, or shards and their index.
absl::StatusOr<std::vector<WrittenSetFile>> WriteSafetensorsForm(Env* env, WeightSource* source,
                                                                 const std::string& folder,
                                                                 const std::string& stem,
                                                                 uint64_t max_shard_bytes);
// All files of a Hugging Face folder; `tokenizer`: one that is not the byte tokenizer, or null.
absl::StatusOr<std::vector<WrittenSetFile>> WriteHfForm(Env* env, WeightSource* source,
                                                        const std::string& folder, bool packed,
                                                        uint64_t max_shard_bytes,
                                                        const TokenizerFiles* tokenizer);

// `folder`/`name`; what the form loses is added to `losses`.
absl::StatusOr<std::vector<WrittenSetFile>> WriteGgufForm(
    Env* env, WeightSource* source, const std::string& folder, const std::string& name,
    const GgufOptions& options, const TokenizerFiles* tokenizer, std::vector<std::string>* losses);

}  // namespace tritter
