// Random master weights of any shape, for tests of export and import and for comparisons with other
// programs.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "model/weight_source.h"

namespace tritter {

// A pure function of (seed, parameter). Matrices are normal with deviation 1/√in, norms around 1;
// the last norm around `last_norm`, so that logits are as large as wanted.
class RandomWeights : public WeightSource {
 public:
  RandomWeights(ModelConfig config, uint64_t seed, float last_norm = 1);
  const ModelConfig& config() const override { return config_; }
  const WeightOrigin& origin() const override { return origin_; }
  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override;

 private:
  const ModelConfig config_;
  const uint64_t seed_;
  const float last_norm_;
  WeightOrigin origin_;
  std::vector<float> values_;
};

}  // namespace tritter
