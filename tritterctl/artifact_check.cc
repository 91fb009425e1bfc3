#include "tritterctl/artifact_check.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "curation/shard_format.h"
#include "curation/shard_manifest.h"
#include "curation/shard_reader.h"
#include "model/gguf/gguf_file.h"
#include "model/safetensors_set.h"
#include "model/serving/open_model.h"
#include "model/tpack.h"
#include "tritterctl/output.h"

namespace tritter {
namespace {

absl::StatusOr<ArtifactCheck> CheckTpack(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TpackFile> file, TpackFile::Open(env, path));
  RETURN_IF_ERROR(file->VerifyAll());
  ArtifactCheck check{"tpack", "", OrderedJson::object()};
  const TpackProvenance& from = file->provenance();
  check.summary =
      absl::StrCat(file->names().size(), " tensors, ",
                   FormatCount(static_cast<double>(ParameterCount(file->config()))),
                   " parameters, ", FormatBytes(static_cast<double>(file->file_bytes())), ", run ",
                   from.run_id, " step ", from.step, " (", from.weights, " weights)");
  check.facts = {{"tensors", file->names().size()},
                 {"parameters", ParameterCount(file->config())},
                 {"bytes", file->file_bytes()},
                 {"run_id", from.run_id},
                 {"step", from.step},
                 {"weights", from.weights},
                 {"tokenizer_hash", file->tokenizer_hash()}};
  return check;
}

absl::StatusOr<ArtifactCheck> CheckSafetensors(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsSet> set, SafetensorsSet::Open(env, path));
  uint64_t bytes = 0;
  for (const std::string& file : set->files()) {
    ASSIGN_OR_RETURN(const uint64_t size, env->FileSize(file));
    bytes += size;
  }
  const size_t tensors = set->names().size();
  return ArtifactCheck{"safetensors",
                       absl::StrCat(tensors, " tensors, ", FormatBytes(static_cast<double>(bytes)),
                                    " (the format has no checksum: structure only)"),
                       {{"tensors", tensors}, {"files", set->files().size()}, {"bytes", bytes}}};
}

// Every value is read: the containers have no checksum, but NaN, infinity and invalid codes show.
absl::StatusOr<ArtifactCheck> CheckWeights(Env* env, const std::string& kind,
                                           const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenModelWeights(env, path));
  const ModelConfig& config = source->config();
  for (const ParameterSpec& parameter : ParameterTable(config)) {
    ASSIGN_OR_RETURN(const TernaryCodes* const codes, source->GetCodes(parameter));
    if (codes == nullptr) RETURN_IF_ERROR(source->Get(parameter).status());
  }
  return ArtifactCheck{
      kind,
      absl::StrCat("family ", FamilyName(config.family), ", ",
                   FormatCount(static_cast<double>(ParameterCount(config))),
                   " parameters (the format has no checksum: structure and values)"),
      {{"parameters", ParameterCount(config)},
       {"tokenizer_hash", source->origin().tokenizer_hash}}};
}

absl::StatusOr<ArtifactCheck> CheckShards(Env* env, const std::string& folder) {
  ASSIGN_OR_RETURN(const ShardManifest manifest, ReadShardManifest(env, folder));
  for (const Split split : {Split::kTrain, Split::kHeldOut}) {
    RETURN_IF_ERROR(TokenSource::Open(env, folder, split, "", /*verify_hashes=*/true).status());
  }
  return ArtifactCheck{
      "shards",
      absl::StrCat("'", manifest.source, "': ", manifest.train.tokens, " tokens to train on, ",
                   manifest.heldout.tokens, " held out, in ",
                   manifest.train.shards.size() + manifest.heldout.shards.size(), " shards"),
      {{"source", manifest.source},
       {"train_tokens", manifest.train.tokens},
       {"heldout_tokens", manifest.heldout.tokens},
       {"heldout_raw_bytes", manifest.heldout.raw_bytes},
       {"tokenizer_hash", manifest.tokenizer_hash}}};
}

// A single shard; the hash that it should have stands in the manifest beside it.
absl::StatusOr<ArtifactCheck> CheckShard(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, env->MapFile(path));
  const absl::Span<const uint8_t> bytes = file->bytes();
  ASSIGN_OR_RETURN(const ShardHeader header, DecodeShardHeader(bytes, path));
  const absl::StatusOr<ShardManifest> manifest = ReadShardManifest(env, Dirname(path));
  bool listed = false;
  for (const SplitEntry* split :
       {manifest.ok() ? &manifest->train : nullptr, manifest.ok() ? &manifest->heldout : nullptr}) {
    if (split == nullptr) continue;
    for (const ShardEntry& entry : split->shards) {
      if (entry.file != Basename(path)) continue;
      listed = true;
      const std::string actual =
          Sha256Hex(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      if (actual == entry.sha256) continue;
      return absl::DataLossError(absl::StrCat(path, ": SHA-256: expected ", entry.sha256,
                                              " (manifest), actual ", actual,
                                              "; run curation again"));
    }
  }
  return ArtifactCheck{
      "shard",
      absl::StrCat(header.tokens, " tokens, ", header.documents, " documents, ",
                   FormatBytes(static_cast<double>(bytes.size())),
                   listed ? "" : " (no manifest beside it names its hash: header and size only)"),
      {{"tokens", header.tokens},
       {"documents", header.documents},
       {"raw_bytes", header.raw_bytes},
       {"bytes", bytes.size()},
       {"hash_verified", listed}}};
}

constexpr char kKnownKinds[] =
    "known are files .tpack, .safetensors (or its index), .gguf and .shard, and folders of shards, "
    "a "
    "checkpoint, a run or a Hugging Face model";

// By its first bytes, and by its name where those are damaged.
absl::StatusOr<ArtifactCheck> CheckFile(Env* env, const std::string& path) {
  if (absl::EndsWith(path, ".safetensors") || absl::EndsWith(path, kSafetensorsIndexEnding))
    return CheckSafetensors(env, path);
  std::string head;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, env->MapFile(path));
    const absl::Span<const uint8_t> bytes = file->bytes().subspan(0, 8);
    head.assign(bytes.begin(), bytes.end());
  }
  if (head == kTpackMagic || absl::EndsWith(path, ".tpack")) return CheckTpack(env, path);
  if (absl::StartsWith(head, kGgufMagic) || absl::EndsWith(path, ".gguf"))
    return CheckWeights(env, "gguf", path);
  if (head == absl::string_view(kShardMagic, sizeof(kShardMagic)) || absl::EndsWith(path, ".shard"))
    return CheckShard(env, path);
  if (Basename(path) == kShardManifestName) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": a manifest lists what belongs to its folder; verify that: tritterctl ", "verify ",
        Dirname(path)));
  }
  if (absl::EndsWith(path, ".yaml")) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a configuration is checked by tritterctl validate; of what verify ",
                     "reads, ", kKnownKinds));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": nothing that verify can read; ", kKnownKinds));
}

}  // namespace

absl::StatusOr<ArtifactCheck> CheckArtifact(Env* env, const std::string& path) {
  if (!env->Exists(path))
    return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  if (!env->IsDirectory(path)) return CheckFile(env, path);
  if (env->Exists(JoinPath(path, "config.json"))) return CheckWeights(env, "hf", path);
  if (env->Exists(JoinPath(path, kShardManifestName))) return CheckShards(env, path);
  ASSIGN_OR_RETURN(const std::vector<std::string> files, env->ListDir(path));
  for (const std::string& file : files) {
    if (absl::EndsWith(file, ".shard"))
      return absl::NotFoundError(absl::StrCat(JoinPath(path, kShardManifestName),
                                              ": missing; expected a finished folder of shards"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": nothing that verify can read; ", kKnownKinds));
}

}  // namespace tritter
