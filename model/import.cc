#include "model/import.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "common/yaml.h"
#include "model/checkpoint_weights.h"
#include "model/folder_checkpoint_store.h"
#include "model/hf_weights.h"
#include "model/safetensors.h"
#include "model/tensor_values.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

// Our own export: names and shapes of ParameterTable, F32, the configuration in the metadata.
class OwnSafetensors : public WeightSource {
 public:
  static absl::StatusOr<std::unique_ptr<WeightSource>> Open(Env* env, const std::string& path);
  const ModelConfig& config() const override { return config_; }
  const WeightOrigin& origin() const override { return origin_; }
  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
    ASSIGN_OR_RETURN(const TensorView view, set_->Get(parameter.name));
    return FiniteFloats(view, set_->PathOf(parameter.name), parameter.name, &buffer_);
  }

 private:
  std::unique_ptr<SafetensorsSet> set_;
  ModelConfig config_;
  WeightOrigin origin_;
  std::vector<float> buffer_;
};

absl::StatusOr<std::string> Metadata(const SafetensorsSet& set, const std::string& key) {
  const auto found = set.metadata().find(key);
  if (found != set.metadata().end()) return found->second;
  return absl::InvalidArgumentError(absl::StrCat(
      set.path(), ": its metadata has no `", key,
      "`, so it is not an export of `tritterctl export --format safetensors`; of a Hugging Face "
      "model name the folder that holds config.json"));
}

absl::StatusOr<std::unique_ptr<WeightSource>> OwnSafetensors::Open(Env* env,
                                                                   const std::string& path) {
  auto out = std::make_unique<OwnSafetensors>();
  ASSIGN_OR_RETURN(out->set_, SafetensorsSet::Open(env, path));
  const SafetensorsSet& set = *out->set_;
  ASSIGN_OR_RETURN(const std::string format, Metadata(set, "format"));
  if (format != "tritter") {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": metadata `format` is '", format,
                     "', expected 'tritter'; of a Hugging Face model name the folder that holds "
                     "config.json"));
  }
  ASSIGN_OR_RETURN(const std::string model, Metadata(set, "model"));
  ASSIGN_OR_RETURN(YamlDocument document, YamlDocument::Parse(model, path + ": metadata `model`"));
  out->config_ = ReadModelConfig(document.Root());
  RETURN_IF_ERROR(document.Finish());
  ASSIGN_OR_RETURN(out->origin_.run_id, Metadata(set, "run_id"));
  ASSIGN_OR_RETURN(out->origin_.weights, Metadata(set, "weights"));
  ASSIGN_OR_RETURN(out->origin_.tokenizer_hash, Metadata(set, kTokenizerHashKey));
  ASSIGN_OR_RETURN(const std::string step, Metadata(set, "step"));
  if (!absl::SimpleAtoi(step, &out->origin_.step) || out->origin_.step < 0) {
    return absl::DataLossError(
        absl::StrCat(path, ": metadata `step` is '", step, "', expected a whole number from 0"));
  }
  TensorNames names(&set);
  for (const ParameterSpec& parameter : ParameterTable(out->config_))
    RETURN_IF_ERROR(names.Expect(parameter.name, {DType::kF32}, parameter.shape));
  RETURN_IF_ERROR(names.Finish());
  return std::unique_ptr<WeightSource>(std::move(out));
}

// Of a checkpoint of weights alone: no run has trained them here.
CheckpointManifest ManifestOf(const WeightSource& source, const WrittenFile& share,
                              const std::string& share_name) {
  CheckpointManifest m;
  m.run_id = source.origin().run_id;
  m.step = source.origin().step;
  m.attempt = "import";
  m.spec_yaml = absl::StrCat("model:\n", ModelConfigToYaml(source.config(), 2));
  m.spec_hash = Sha256Hex(m.spec_yaml);
  m.code_version = kVersion;
  m.files = {{share_name, share.bytes, share.sha256}};
  return m;
}

absl::StatusOr<WrittenFile> WriteShare(Env* env, WeightSource* source, const std::string& path) {
  std::vector<TensorToWrite> tensors;
  auto zeros = std::make_shared<std::vector<uint8_t>>();
  const std::vector<ParameterSpec> parameters = ParameterTable(source->config());
  for (const char* prefix : {"weight/", "adam_m/", "adam_v/", "ema/"}) {
    const bool moment = absl::StartsWith(prefix, "adam");
    for (const ParameterSpec& parameter : parameters) {
      int64_t count = 1;
      for (const int64_t n : parameter.shape) count *= n;
      tensors.push_back(
          {prefix + parameter.name,
           DType::kF32,
           parameter.shape,
           {},
           [=]() -> absl::StatusOr<absl::Span<const uint8_t>> {
             const size_t bytes = count * sizeof(float);
             if (moment) {
               if (zeros->size() < bytes) zeros->assign(bytes, 0);
               return absl::MakeConstSpan(zeros->data(), bytes);
             }
             ASSIGN_OR_RETURN(const absl::Span<const float> values, source->Get(parameter));
             return absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(values.data()), bytes);
           }});
    }
  }
  std::map<std::string, std::string> metadata = {{"step", absl::StrCat(source->origin().step)}};
  if (source->origin().tokenizer_hash != ByteTokenizer().hash())
    metadata[kTokenizerHashKey] = source->origin().tokenizer_hash;
  return WriteSafetensors(env, path, tensors, metadata);
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenForeignWeights(Env* env,
                                                                 const std::string& path) {
  if (!env->Exists(path))
    return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  if (env->IsDirectory(path)) return OpenHfWeights(env, path);
  if (absl::EndsWith(path, ".safetensors") || absl::EndsWith(path, kSafetensorsIndexEnding))
    return OwnSafetensors::Open(env, path);
  return absl::InvalidArgumentError(absl::StrCat(
      path,
      ": expected a Hugging Face folder, a .safetensors file or a .safetensors.index.json file"));
}

absl::StatusOr<ExportResult> WriteCheckpointOf(Env* env, WeightSource* source,
                                               const std::string& folder) {
  RETURN_IF_ERROR(CheckTrainable(source->config()));
  if (env->Exists(folder)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, ": exists already, expected the name of a new checkpoint folder"));
  }
  const std::string unverified = folder + ".unverified", share = "share-0-of-1.safetensors";
  RETURN_IF_ERROR(env->RemoveTree(unverified));
  RETURN_IF_ERROR(env->CreateDirs(unverified));
  ExportResult result{folder, 0, "", source->origin().step};
  const auto write = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const WrittenFile written,
                     WriteShare(env, source, JoinPath(unverified, share)));
    const CheckpointManifest manifest = ManifestOf(*source, written, share);
    const std::string json = ManifestToJson(manifest);
    RETURN_IF_ERROR(WriteFileAtomically(env, JoinPath(unverified, "manifest.json"), json));
    ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> checkpoint,
                     OpenCheckpointFolder(env, unverified));
    RETURN_IF_ERROR(VerifyCheckpoint(*checkpoint));
    result.bytes = checkpoint->bytes();
    result.sha256 = checkpoint->manifest_sha256();
    RETURN_IF_ERROR(env->SyncDir(unverified));
    RETURN_IF_ERROR(env->Rename(unverified, folder));
    return env->SyncDir(Dirname(folder));
  };
  if (const absl::Status status = write(); !status.ok()) {
    env->RemoveTree(unverified).IgnoreError();  // the first error is the one that counts
    return status;
  }
  return result;
}

}  // namespace tritter
