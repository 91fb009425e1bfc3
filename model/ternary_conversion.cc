#include "model/ternary_conversion.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "kernels/quantise.h"

namespace tritter {
namespace {

class TernarySource : public WeightSource {
 public:
  explicit TernarySource(std::unique_ptr<WeightSource> plain)
      : plain_(std::move(plain)), config_(plain_->config()) {
    config_.weight_rule = WeightRule::kAbsMean;
    config_.activations = ActivationRule::kInt8;
  }
  const ModelConfig& config() const override { return config_; }
  const WeightOrigin& origin() const override { return plain_->origin(); }
  absl::StatusOr<absl::Span<const float>> Get(const ParameterSpec& parameter) override {
    ASSIGN_OR_RETURN(const absl::Span<const float> values, plain_->Get(parameter));
    if (parameter.kind != ParameterKind::kTernary) return values;
    values_.assign(values.begin(), values.end());
    KeepNormsOfTernary(values_.data(), parameter.shape[0], parameter.shape[1],
                       config_.granularity == ScaleGranularity::kRow);
    return absl::MakeConstSpan(values_);
  }

 private:
  const std::unique_ptr<WeightSource> plain_;
  ModelConfig config_;
  std::vector<float> values_;
};

}  // namespace

void KeepNormsOfTernary(float* w, int64_t rows, int64_t cols, bool per_row) {
  std::vector<int8_t> q(rows * cols);
  std::vector<float> scales(per_row ? rows : 1);
  QuantiseWeights(w, rows, cols, per_row, q.data(), scales.data());
  const int64_t n = per_row ? cols : rows * cols;  // of one scale
  for (size_t s = 0; s < scales.size(); ++s) {
    float* const range = w + static_cast<int64_t>(s) * n;
    double plain = 0;
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
      plain += double{range[i]} * range[i];
      kept += q[static_cast<int64_t>(s) * n + i] != 0;
    }
    if (kept == 0) continue;
    const double factor = std::sqrt(plain / static_cast<double>(kept)) / scales[s];
    for (int64_t i = 0; i < n; ++i) range[i] = static_cast<float>(range[i] * factor);
  }
}

absl::StatusOr<std::unique_ptr<WeightSource>> AsTernary(std::unique_ptr<WeightSource> source) {
  if (source->config().weight_rule != WeightRule::kNone) {
    return absl::InvalidArgumentError(
        "weight_rule: expected none (weights that were trained without quantisation), actual one "
        "that quantises; leave --ternary out: they are ternary already");
  }
  return std::unique_ptr<WeightSource>(new TernarySource(std::move(source)));
}

}  // namespace tritter
