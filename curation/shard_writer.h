// Writes a folder of shards with its manifest (docs/formats/shard.md). Memory is bounded by the
// shard size: at most one shard of each split is held. Shards are named by their contents and the
// manifest is switched last, atomically: until then an earlier data set in the folder stays what it
// was, and afterwards what the manifest does not list is removed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/env.h"
#include "curation/shard_format.h"
#include "curation/shard_manifest.h"
#include "curation/shard_reader.h"

namespace tritter {

struct ShardWriterOptions {
  std::string source;  // name of the data set
  std::string tokenizer = "byte";
  std::string tokenizer_hash;  // 64 hex characters
  uint32_t vocabulary = 0;
  uint64_t shard_tokens = uint64_t{32} << 20;  // limit of a shard; a document is never split
  std::map<std::string, std::string> options;  // of curation, recorded in the manifest
};

struct DocumentToWrite {
  absl::Span<const int32_t> tokens;  // eos at the end included
  uint64_t raw_bytes = 0;            // of its text, as bits per byte counts it
  DocumentLabel label = DocumentLabel::kPositive;
  float weight = 1.0f;
};

// Whether a file of this name in a folder of shards belongs to the writer, who may replace it.
bool IsShardFolderFile(absl::string_view name);

// Not thread-safe. Owner: the ingesting loop.
class ShardWriter {
 public:
  // Makes the folder. Errors: InvalidArgument (options), FailedPrecondition (the folder holds a
  // manifest.json that is not a shard manifest), those of Env.
  static absl::StatusOr<std::unique_ptr<ShardWriter>> Create(Env* env, const std::string& folder,
                                                             const ShardWriterOptions& options);
  // Without Finish, removes the shards it wrote, as far as that goes.
  ~ShardWriter();

  // Errors: InvalidArgument (an id outside the vocabulary, no token, longer than a shard), those of
  // Env (disk full).
  absl::Status Add(Split split, const DocumentToWrite& document);
  // Writes what is left, replaces the manifest, removes what it does not list (as far as that goes:
  // what stays is removed by the next one). Nothing may be added afterwards.
  absl::StatusOr<ShardManifest> Finish(std::vector<InputEntry> inputs,
                                       std::map<std::string, uint64_t> rejected);

 private:
  struct Pending;  // the shard of one split that is being filled
  ShardWriter(Env* env, std::string folder, ShardWriterOptions options);
  absl::Status LookAtEarlier();
  void RemoveUnlisted(const ShardManifest& manifest);
  absl::Status Flush(Pending* pending);

  Env* const env_;
  const std::string folder_;
  const ShardWriterOptions options_;
  const uint32_t token_width_;
  ShardManifest manifest_;
  std::optional<ShardManifest> earlier_;  // empty: none in the folder; nullopt: it is damaged
  bool switched_ = false;                 // the folder's manifest may be manifest_
  std::unique_ptr<Pending> train_, heldout_;
  bool finished_ = false;
};

}  // namespace tritter
