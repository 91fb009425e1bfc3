#include "tests/testing/random_model.h"

#include <utility>

#include "common/status_macros.h"
#include "model/master_weights.h"
#include "model/tokenizer.h"
#include "tests/testing/random_tensor.h"

namespace tritter {

RandomModel::RandomModel(ModelConfig config, uint64_t seed)
    : config_(std::move(config)), seed_(seed) {
  origin_ = {"random", 0, "raw", "", ByteTokenizer().hash()};
}

absl::StatusOr<absl::Span<const float>> RandomModel::Get(const ParameterSpec& parameter) {
  if (parameter.kind == ParameterKind::kTernary) {
    codes_ = RandomCodes(config_, parameter, seed_);
    RETURN_IF_ERROR(MasterWeights(codes_, parameter.shape[0], parameter.shape[1], &values_));
  } else {
    values_ = RandomValues(config_, parameter, seed_);
  }
  return absl::MakeConstSpan(values_);
}

absl::StatusOr<const TernaryCodes*> RandomModel::GetCodes(const ParameterSpec& parameter) {
  if (parameter.kind != ParameterKind::kTernary) return nullptr;
  codes_ = RandomCodes(config_, parameter, seed_);
  return &codes_;
}

absl::StatusOr<ModelConfig> RandomModelPreset(const std::string& name) {
  if (name != "1.1B") return PresetConfig(name);
  ModelConfig c;
  c.hidden = 2048;
  c.layers = 22;
  c.heads = 32;
  c.kv_heads = 4;
  c.head_dim = 64;
  c.ffn = 5632;
  c.vocab = 32000;
  c.context = 4096;
  return c;
}

absl::StatusOr<ExportResult> WriteRandomModel(Env* env, const std::string& path,
                                              const ModelConfig& config, uint64_t seed,
                                              const ExportOptions& options) {
  RETURN_IF_ERROR(ValidateConfig(config));
  RandomModel model(config, seed);
  return ExportWeights(env, &model, path, options);
}

absl::Status WriteRandomModel(Env* env, const std::string& path, const ModelConfig& config,
                              uint64_t seed) {
  return WriteRandomModel(env, path, config, seed, ExportOptions()).status();
}

}  // namespace tritter
