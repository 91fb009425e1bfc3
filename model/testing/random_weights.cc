#include "model/testing/random_weights.h"

#include <cmath>

#include "common/random.h"
#include "model/tokenizer.h"

namespace tritter {

RandomWeights::RandomWeights(ModelConfig config, uint64_t seed, float last_norm)
    : config_(std::move(config)), seed_(seed), last_norm_(last_norm) {
  origin_ = {"random", 40, "averaged", "", ByteTokenizer().hash()};
}

absl::StatusOr<absl::Span<const float>> RandomWeights::Get(const ParameterSpec& parameter) {
  int64_t n = 1;
  for (const int64_t d : parameter.shape) n *= d;
  const bool norm = parameter.kind == ParameterKind::kNorm;
  const double center = !norm ? 0 : parameter.name == "norm.weight" ? last_norm_ : 1;
  const double deviation =
      norm ? 0.1 * center : 1 / std::sqrt(static_cast<double>(parameter.shape.back()));
  Philox random(MixKey(seed_, HashString(parameter.name)));
  values_.resize(n);
  for (float& v : values_) v = static_cast<float>(center + deviation * random.Normal());
  return absl::MakeConstSpan(values_);
}

}  // namespace tritter
