#include "model/serving/open_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "model/gguf/gguf_file.h"
#include "model/gguf/gguf_weights.h"
#include "model/import.h"
#include "model/safetensors_set.h"
#include "model/tpack.h"

namespace tritter {
namespace {

enum class Container {
  kTpack,
  kGguf,
  kWeights
};  // kWeights: a folder or safetensors (model/import.h)

// By content; where the first bytes say nothing, by the name, so that the reader of what was meant
// says what is wrong with it.
absl::StatusOr<Container> ContainerOf(Env* env, const std::string& path) {
  if (!env->Exists(path))
    return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  if (env->IsDirectory(path)) return Container::kWeights;
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, env->MapFile(path));
  const absl::string_view first(reinterpret_cast<const char*>(file->bytes().data()),
                                std::min<size_t>(file->bytes().size(), 8));
  if (first == kTpackMagic || absl::EndsWith(path, ".tpack")) return Container::kTpack;
  if (absl::StartsWith(first, kGgufMagic) || absl::EndsWith(path, ".gguf")) return Container::kGguf;
  if (absl::EndsWith(path, ".safetensors") || absl::EndsWith(path, kSafetensorsIndexEnding))
    return Container::kWeights;
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": its first bytes are '", absl::CHexEscape(first),
      "', expected a .tpack (TRITPACK), a GGUF, Hugging Face folder, or a .safetensors file of "
      "`tritterctl export`"));
}

// Bytes of the weights that belong to `path`.
absl::StatusOr<uint64_t> StoredBytes(Env* env, const std::string& path) {
  const bool folder = env->IsDirectory(path);
  if (!folder && !absl::EndsWith(path, kSafetensorsIndexEnding)) return env->FileSize(path);
  if (!folder) {
    ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsSet> set, SafetensorsSet::Open(env, path));
    uint64_t bytes = 0;
    for (const std::string& file : set->files()) {
      ASSIGN_OR_RETURN(const uint64_t size, env->FileSize(file));
      bytes += size;
    }
    return bytes;
  }
  const std::string single = JoinPath(path, "model.safetensors");
  return StoredBytes(env, env->Exists(single)
                              ? single
                              : JoinPath(path, absl::StrCat("model", kSafetensorsIndexEnding)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedModelFile>> OpenModel(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(const Container container, ContainerOf(env, path));
  if (container == Container::kTpack) return TpackFile::Open(env, path);
  ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> source, OpenModelWeights(env, path));
  ASSIGN_OR_RETURN(const uint64_t bytes, StoredBytes(env, path));
  absl::StatusOr<std::unique_ptr<PackedModelFile>> packed = PackWeights(std::move(source), bytes);
  return packed.ok() ? std::move(packed) : Annotate(packed.status(), path);
}

absl::StatusOr<std::unique_ptr<WeightSource>> OpenModelWeights(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(const Container container, ContainerOf(env, path));
  if (container == Container::kWeights) return OpenForeignWeights(env, path);
  if (container == Container::kGguf) return OpenGgufWeights(env, path);
  ASSIGN_OR_RETURN(std::unique_ptr<TpackFile> file, TpackFile::Open(env, path));
  return WeightsOf(std::move(file));
}

}  // namespace tritter
