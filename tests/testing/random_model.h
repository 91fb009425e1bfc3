// Models with random weights of any shape, in every form: for tests, load generators and
// comparisons with other engines, which then run the very same weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env.h"
#include "model/config.h"
#include "model/export.h"
#include "model/weight_source.h"

namespace tritter {

// The weights of seed `seed`: those of RandomTensor. Made anew at every call, one tensor at a time.
class RandomModel : public WeightSource {
 public:
  RandomModel(ModelConfig config, uint64_t seed);
  const ModelConfig& config() const override { return config_; }
  const WeightOrigin& origin() const override { return origin_; }
  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override;
  absl::StatusOr<const TernaryCodes*> GetCodes(const ParameterSpec& parameter) override;

 private:
  const ModelConfig config_;
  const uint64_t seed_;
  WeightOrigin origin_;
  TernaryCodes codes_;
  std::vector<float> values_;
};

// The presets of the product, and the shapes that benchmarks are named by: "1.1B" (of either
// family). Errors: NotFound.
absl::StatusOr<ModelConfig> RandomModelPreset(const std::string& name);

// Writes a whole model; its tokenizer is the byte tokenizer. Errors: InvalidArgument for a bad
// configuration or one that the form cannot hold; those of ExportWeights.
absl::StatusOr<ExportResult> WriteRandomModel(Env* env, const std::string& path,
                                              const ModelConfig& config, uint64_t seed,
                                              const ExportOptions& options);
// As a .tpack.
absl::Status WriteRandomModel(Env* env, const std::string& path, const ModelConfig& config,
                              uint64_t seed);

}  // namespace tritter
