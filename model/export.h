// Weights in, deployable files out. Used by the coordinator when a run completes, by `tritterctl
// export` and by `tritterctl import`. The forms: docs/formats/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/checkpoint_store.h"
#include "model/config.h"
#include "model/gguf/gguf_model.h"
#include "model/safetensors_set.h"
#include "model/text/tokenizer_files.h"
#include "model/weight_source.h"

namespace tritter {

struct ExportOptions {
  std::string format = "tpack";  // "tpack", "safetensors", "hf", "gguf"
  bool raw = false;              // raw instead of averaged weights
  std::string head = "f32";      // tpack: the output head as "f32", "int8" or "int4"
  // hf: FP32 master weights instead of ternary codes and scales.
  bool masters = false;
  uint64_t max_shard_bytes = kDefaultMaxShardBytes;  // safetensors, hf
  GgufOptions gguf = {};
  // Of the weights, where it is not the byte tokenizer; null when it is not at hand. Format hf: in
  // the folder; gguf: in the file; tpack: beside it (WriteTokenizerBeside), not counted in `bytes`.
  std::shared_ptr<const TokenizerFiles> tokenizer = nullptr;
};
// Whether a model of this configuration has this form; also for a run's admission, hours before
// there is a checkpoint. Errors: InvalidArgument (unknown format; a switch that the Hugging Face
// form has not), those of CheckPackable (tpack, hf, gguf) and CheckGgufExpressible.
absl::Status CheckExportable(const ModelConfig& config, const ExportOptions& options);

struct ExportResult {
  std::string path;    // the file; the index of several; the folder of format hf
  uint64_t bytes = 0;  // of all files
  // Of the file; where there are several, of the lines that sha256sum prints for them, by name.
  std::string sha256;
  int64_t step = 0;
  // What the form does not hold as the source does, in sentences; empty when it holds all of it.
  std::vector<std::string> losses = {};
};

// Writes everything into the folder `path`.unverified, a tensor in memory at a time, reads it back
// and checks all of it, and only then moves it to `path`: an older file there is whole until the
// new one is. Parent folders are made. `path` is a file, for safetensors one that ends in
// .safetensors (several shards and the index are put beside where it would be), for hf a folder. A
// tpack needs twice its size on disk for a while. Errors: those of CheckExportable and of the
// source; DataLoss (the disk gives back other bytes than were written), AlreadyExists (a folder
// that is not empty; a file where an index is to come or the other way round), ResourceExhausted
// (disk).
absl::StatusOr<ExportResult> ExportWeights(Env* env, WeightSource* source, const std::string& path,
                                           const ExportOptions& options);

// Verifies the checkpoint (sizes and hashes) and exports its weights. Errors: also NotFound
// (averaged weights that the checkpoint does not hold), DataLoss (checkpoint), FailedPrecondition
// (NaN or infinity in the weights).
absl::StatusOr<ExportResult> ExportCheckpoint(Env* env, const CheckpointReader& checkpoint,
                                              const std::string& path,
                                              const ExportOptions& options);
// The checkpoint in a folder that somebody names. Errors: also those of OpenCheckpointFolder.
absl::StatusOr<ExportResult> ExportCheckpoint(Env* env, const std::string& checkpoint_folder,
                                              const std::string& path,
                                              const ExportOptions& options);

}  // namespace tritter
