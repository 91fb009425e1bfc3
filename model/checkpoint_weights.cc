#include "model/checkpoint_weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/yaml.h"
#include "model/checkpoint_tensors.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

class CheckpointWeights : public WeightSource {
 public:
  CheckpointWeights(ModelConfig config, WeightOrigin origin,
                    std::unique_ptr<CheckpointTensors> tensors)
      : config_(std::move(config)), origin_(std::move(origin)), tensors_(std::move(tensors)) {}
  const ModelConfig& config() const override { return config_; }
  const WeightOrigin& origin() const override { return origin_; }
  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
    return tensors_->Get(origin_.weights == "raw" ? "weight/" : "ema/", parameter);
  }

 private:
  const ModelConfig config_;
  const WeightOrigin origin_;
  const std::unique_ptr<CheckpointTensors> tensors_;
};

absl::StatusOr<ModelConfig> ModelOf(const CheckpointManifest& manifest, const std::string& where) {
  ASSIGN_OR_RETURN(YamlDocument document,
                   YamlDocument::Parse(manifest.spec_yaml, where + ": spec_yaml"));
  YamlMap root = document.Root();
  for (const std::string& key : root.Keys()) {
    if (key != "model") root.Skip(key);
  }
  root.Require("model");
  const ModelConfig config = ReadModelConfig(root.Map("model"));
  RETURN_IF_ERROR(document.Finish());
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> CheckpointModel(const CheckpointReader& checkpoint) {
  return ModelOf(checkpoint.manifest(), checkpoint.LocationOf("manifest.json"));
}

absl::StatusOr<std::unique_ptr<WeightSource>> OpenCheckpointWeights(
    const CheckpointReader& checkpoint, bool raw) {
  ASSIGN_OR_RETURN(ModelConfig config, CheckpointModel(checkpoint));
  RETURN_IF_ERROR(VerifyCheckpoint(checkpoint));
  const CheckpointManifest& manifest = checkpoint.manifest();
  WeightOrigin origin{manifest.run_id, manifest.step, raw ? "raw" : "averaged", "", ""};
  origin.checkpoint_hash = checkpoint.manifest_sha256();
  ASSIGN_OR_RETURN(std::unique_ptr<CheckpointTensors> tensors, CheckpointTensors::Open(checkpoint));
  const std::string imported = tensors->Metadata(kTokenizerHashKey);
  origin.tokenizer_hash = imported.empty() ? ByteTokenizer().hash() : imported;
  return std::make_unique<CheckpointWeights>(std::move(config), std::move(origin),
                                             std::move(tensors));
}

}  // namespace tritter
