#include "worker/training/initialise.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/random.h"
#include "kernels/quantise.h"

namespace tritter {
namespace {
// Of the normal distribution; 0 for what is not drawn.
double Deviation(const ParameterSpec& spec, const ModelConfig& config) {
  const double in = static_cast<double>(spec.shape.back());
  switch (spec.kind) {
    case ParameterKind::kEmbedding:
      return config.tied_embeddings ? 1.0 / std::sqrt(in) : 1.0;
    case ParameterKind::kHead:
      return 0.02 / std::sqrt(in);
    case ParameterKind::kTernary: {
      if (spec.name == "head.weight") return 0.2 / std::sqrt(in);
      const bool residual =
          absl::StrContains(spec.name, "attn.o.") || absl::StrContains(spec.name, "ffn.down.");
      return (residual ? 1.0 / std::sqrt(2.0 * static_cast<double>(config.layers)) : 1.0) /
             std::sqrt(in);
    }
    case ParameterKind::kNorm:
    case ParameterKind::kBias:
    case ParameterKind::kScale:
      break;
  }
  return 0.0;
}

// Of a norm's weights.
float NormWeight(const ParameterSpec& spec, const ModelConfig& config) {
  return config.tied_embeddings && spec.name == "norm.weight" ? 0.1f : 1.0f;
}

// Mean of |w| over the entries above the row's mean of |w|. w [n].
float KeptMean(const float* w, int64_t n) {
  const double mean = AbsSum(w, n) / static_cast<double>(n);
  double sum = 0;
  int64_t kept = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (std::abs(w[i]) <= mean) continue;
    sum += std::abs(w[i]);
    ++kept;
  }
  return kept > 0 ? static_cast<float>(sum / static_cast<double>(kept)) : 0.0f;
}

// Of the matrix that the name of the scale gives; it stands before it in the table.
void InitialiseScale(const ParameterSlot& scale, const ParameterStore& parameters, float* weights) {
  const std::string matrix = absl::StrCat(absl::StripSuffix(scale.spec.name, ".scale"), ".weight");
  const ParameterSlot& slot = **parameters.Find(matrix);
  const int64_t in = slot.spec.shape.back();
  for (int64_t r = 0; r < scale.size; ++r) {
    weights[scale.offset + r] = KeptMean(weights + slot.offset + r * in, in);
  }
}
}  // namespace

void InitialiseParameters(uint64_t seed, const ModelConfig& config, ParameterStore* parameters) {
  float* const weights = parameters->MutableWeights();
  for (const ParameterSlot& slot : parameters->slots()) {
    float* w = weights + slot.offset;
    const double deviation = Deviation(slot.spec, config);
    if (slot.spec.kind == ParameterKind::kScale) {
      InitialiseScale(slot, *parameters, weights);
    } else if (deviation == 0.0) {
      const bool norm = slot.spec.kind == ParameterKind::kNorm;
      std::fill(w, w + slot.size, norm ? NormWeight(slot.spec, config) : 0.0f);
    } else {
      Philox random(MixKey(seed, HashString(slot.spec.name)));
      for (int64_t i = 0; i < slot.size; ++i)
        w[i] = static_cast<float>(random.Normal() * deviation);
    }
  }
}

}  // namespace tritter
