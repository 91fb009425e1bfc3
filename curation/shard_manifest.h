// manifest.json of a shard folder: which shards belong to each split, with sizes and hashes, and
// where they came from. Written last by the shard writer: a folder without it is not a data set
// (docs/formats/shard.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env.h"

namespace tritter {

struct ShardEntry {
  std::string file;  // relative to the folder, no slash
  uint64_t bytes = 0;
  std::string sha256;  // hex, of the whole file
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint64_t raw_bytes = 0;
};

struct SplitEntry {
  uint64_t tokens = 0;  // sums over the shards
  uint64_t documents = 0;
  uint64_t raw_bytes = 0;
  std::vector<ShardEntry> shards;  // in reading order
};

struct InputEntry {
  std::string path;  // as given
  uint64_t bytes = 0;
  std::string sha256;
};

struct ShardManifest {
  int64_t format = 1;
  std::string source;          // name of the data set
  std::string tokenizer;       // "byte"
  std::string tokenizer_hash;  // hex
  int64_t vocabulary = 0;
  SplitEntry train, heldout;
  std::map<std::string, std::string> options;  // of curation, as text
  std::string options_hash;  // SHA-256 of "key=value\n" for each option in order of keys
  std::vector<InputEntry> inputs;
  std::map<std::string, uint64_t> rejected;  // reason → documents left out
};

inline constexpr char kShardManifestName[] = "manifest.json";

// SHA-256 (hex) of what decides the tokens and their order: tokenizer and shards. Equal for the
// same text curated again, wherever it lay.
std::string HashTokens(const ShardManifest& manifest);
std::string HashOptions(const std::map<std::string, std::string>& options);
std::string ShardManifestToJson(const ShardManifest& manifest);
// DataLoss naming path and key: bad JSON, wrong types, a file name with a slash, sums that do not
// add up.
absl::StatusOr<ShardManifest> ShardManifestFromJson(absl::string_view json, absl::string_view path);
// NotFound when the folder or its manifest is missing; the message says what to do.
absl::StatusOr<ShardManifest> ReadShardManifest(Env* env, const std::string& folder);

}  // namespace tritter
