#include "model/export.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "model/checkpoint_weights.h"
#include "model/export_forms.h"
#include "model/folder_checkpoint_store.h"
#include "model/hf_format.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

constexpr char kSafetensorsEnding[] = ".safetensors";

// What would stand in the way or make two exports of one.
absl::Status CheckTarget(Env* env, const std::string& path, const ExportOptions& options) {
  if (options.format == "hf") {
    if (!env->Exists(path)) return absl::OkStatus();
    if (!env->IsDirectory(path))
      return absl::AlreadyExistsError(absl::StrCat(path, ": is a file, expected a new folder"));
    ASSIGN_OR_RETURN(const std::vector<std::string> names, env->ListDir(path));
    if (names.empty()) return absl::OkStatus();
    return absl::AlreadyExistsError(absl::StrCat(path, ": the folder holds ", names.size(),
                                                 " files, the first is ", names[0],
                                                 "; name a new folder, or remove this one"));
  }
  if (options.format == "safetensors" && !absl::EndsWith(path, kSafetensorsEnding)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a name that ends in ", kSafetensorsEnding));
  }
  return absl::OkStatus();
}

// The stem of a safetensors file: shards and index begin with it.
std::string StemOf(const std::string& path) {
  return std::string(absl::StripSuffix(Basename(path), kSafetensorsEnding));
}

absl::StatusOr<std::vector<WrittenSetFile>> WriteForm(Env* env, WeightSource* source,
                                                      const std::string& folder,
                                                      const std::string& path,
                                                      const ExportOptions& options,
                                                      std::vector<std::string>* losses) {
  RETURN_IF_ERROR(env->RemoveTree(folder));  // of an export that did not end
  RETURN_IF_ERROR(env->CreateDirs(folder));
  if (options.format == "tpack") {
    const TpackType head = options.head == "int8"   ? TpackType::kRowInt8
                           : options.head == "int4" ? TpackType::kRowInt4
                                                    : TpackType::kF32;
    return WriteTpackForm(env, source, folder, Basename(path), head);
  }
  if (options.format == "hf")
    return WriteHfForm(env, source, folder, !options.masters, options.max_shard_bytes,
                       options.tokenizer.get());
  if (options.format == "gguf")
    return WriteGgufForm(env, source, folder, Basename(path), options.gguf, options.tokenizer.get(),
                         losses);
  return WriteSafetensorsForm(env, source, folder, StemOf(path), options.max_shard_bytes);
}

// Moves the checked files from `folder` to their places; the last one, the index of several, makes
// them whole. Returns what to open.
absl::StatusOr<std::string> MoveIntoPlace(Env* env, const std::string& folder,
                                          const std::string& path, const ExportOptions& options,
                                          const std::vector<WrittenSetFile>& files) {
  const std::string parent = Dirname(path);
  if (options.format == "hf") {
    if (env->Exists(path)) RETURN_IF_ERROR(env->RemoveTree(path));  // empty, as checked
    RETURN_IF_ERROR(env->SyncDir(folder));
    RETURN_IF_ERROR(env->Rename(folder, path));
    RETURN_IF_ERROR(env->SyncDir(parent));
    return path;
  }
  const std::string index = JoinPath(parent, StemOf(path) + kSafetensorsIndexEnding);
  const std::string& other = files.size() > 1 ? path : index;
  if (options.format == "safetensors" && env->Exists(other)) {
    return absl::AlreadyExistsError(absl::StrCat(
        other, ": belongs to an older export that is ", files.size() > 1 ? "one file" : "sharded",
        ", this one is ", files.size() > 1 ? "sharded" : "one file", "; remove the old one"));
  }
  if (files.size() > 1 && env->Exists(index)) RETURN_IF_ERROR(env->RemoveFile(index));
  for (const WrittenSetFile& file : files)
    RETURN_IF_ERROR(env->Rename(JoinPath(folder, file.name), JoinPath(parent, file.name)));
  RETURN_IF_ERROR(env->SyncDir(parent));
  RETURN_IF_ERROR(env->RemoveTree(folder));
  return files.size() > 1 ? index : path;
}

absl::Status CheckTokenizer(const WeightSource& source, const ExportOptions& options) {
  if (options.tokenizer == nullptr) return absl::OkStatus();
  const std::string hash = HashOfTokenizerJson(options.tokenizer->definition);
  if (hash == source.origin().tokenizer_hash) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the tokenizer is ", hash,
                                                 ", expected that of the weights, ",
                                                 source.origin().tokenizer_hash));
}

std::string HashOfAll(std::vector<WrittenSetFile> files) {
  if (files.size() == 1) return files[0].sha256;
  std::sort(files.begin(), files.end(),
            [](const WrittenSetFile& a, const WrittenSetFile& b) { return a.name < b.name; });
  std::string lines;
  for (const WrittenSetFile& file : files)
    absl::StrAppend(&lines, file.sha256, "  ", file.name, "\n");
  return Sha256Hex(lines);
}

}  // namespace

absl::Status CheckExportable(const ModelConfig& config, const ExportOptions& options) {
  if (options.head != "f32" && options.head != "int8" && options.head != "int4") {
    return absl::InvalidArgumentError(
        absl::StrCat("output head '", options.head, "', expected f32, int8 or int4"));
  }
  if (options.head != "f32" && options.format != "tpack") {
    return absl::InvalidArgumentError(absl::StrCat(
        "an output head in ", options.head, " is for format tpack, actual ", options.format));
  }
  if (options.format == "safetensors") return absl::OkStatus();
  if (options.format != "tpack" && options.format != "hf" && options.format != "gguf") {
    return absl::InvalidArgumentError(absl::StrCat("export format '", options.format,
                                                   "', expected tpack, safetensors, hf or gguf"));
  }
  const absl::Status packable = CheckPackable(config);
  if (!packable.ok()) {
    return absl::Status(
        packable.code(),
        absl::StrCat(packable.message(),
                     "; export with format safetensors, or make plain weights ternary "
                     "(tritterctl import --ternary)"));
  }
  if (options.format == "gguf") return CheckGgufExpressible(config, options.gguf);
  return options.format == "hf" ? CheckHfExpressible(config) : absl::OkStatus();
}

absl::StatusOr<ExportResult> ExportWeights(Env* env, WeightSource* source, const std::string& path,
                                           const ExportOptions& options) {
  RETURN_IF_ERROR(CheckExportable(source->config(), options));
  RETURN_IF_ERROR(CheckTokenizer(*source, options));
  RETURN_IF_ERROR(CheckTarget(env, path, options));
  RETURN_IF_ERROR(env->CreateDirs(Dirname(path)));
  // Read back and checked before it takes the place of an older file.
  const std::string unverified = path + ".unverified";
  ExportResult result;
  const absl::StatusOr<std::vector<WrittenSetFile>> files =
      WriteForm(env, source, unverified, path, options, &result.losses);
  absl::Status status = files.status();
  const bool own_tokenizer = source->origin().tokenizer_hash != ByteTokenizer().hash();
  if (status.ok() && options.tokenizer != nullptr && options.format == "tpack") {
    status = WriteTokenizerBeside(env, path, *options.tokenizer);  // before what needs it is there
  } else if (own_tokenizer && (options.tokenizer == nullptr || options.format == "safetensors") &&
             options.format != "gguf") {
    result.losses.push_back(absl::StrCat(
        "the tokenizer is not in it (it is not the byte tokenizer), only the SHA-256 of its "
        "definition, ",
        source->origin().tokenizer_hash));
  }
  if (status.ok()) {
    absl::StatusOr<std::string> placed = MoveIntoPlace(env, unverified, path, options, *files);
    status = placed.status();
    if (placed.ok()) result.path = *std::move(placed);
  }
  if (!status.ok()) {
    env->RemoveTree(unverified).IgnoreError();  // the first error is the one that counts
    return status;
  }
  for (const WrittenSetFile& file : *files) result.bytes += file.bytes;
  result.sha256 = HashOfAll(*files);
  result.step = source->origin().step;
  return result;
}

absl::StatusOr<ExportResult> ExportCheckpoint(Env* env, const CheckpointReader& checkpoint,
                                              const std::string& path,
                                              const ExportOptions& options) {
  ASSIGN_OR_RETURN(const ModelConfig config, CheckpointModel(checkpoint));
  RETURN_IF_ERROR(CheckExportable(config, options));  // what needs no hours of hashing first
  ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source,
                   OpenCheckpointWeights(checkpoint, options.raw));
  return ExportWeights(env, source.get(), path, options);
}

absl::StatusOr<ExportResult> ExportCheckpoint(Env* env, const std::string& checkpoint_folder,
                                              const std::string& path,
                                              const ExportOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> checkpoint,
                   OpenCheckpointFolder(env, checkpoint_folder));
  return ExportCheckpoint(env, *checkpoint, path, options);
}

}  // namespace tritter
