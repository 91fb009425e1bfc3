#include "worker/training/initialise.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "common/random.h"

namespace tritter {
namespace {
double Deviation(const ParameterSpec& spec, int64_t layers) {
  const double in = static_cast<double>(spec.shape.back());
  switch (spec.kind) {
    case ParameterKind::kEmbedding:
      return 1.0;
    case ParameterKind::kHead:
      return 0.02 / std::sqrt(in);
    case ParameterKind::kTernary: {
      const bool residual =
          absl::StrContains(spec.name, "attn.o.") || absl::StrContains(spec.name, "ffn.down.");
      return (residual ? 1.0 / std::sqrt(2.0 * static_cast<double>(layers)) : 1.0) / std::sqrt(in);
    }
    case ParameterKind::kNorm:
    case ParameterKind::kBias:
    case ParameterKind::kScale:
      break;
  }
  return 0.0;
}
}  // namespace

void InitialiseParameters(uint64_t seed, int64_t layers, ParameterStore* parameters) {
  for (const ParameterSlot& slot : parameters->slots()) {
    float* w = parameters->weight() + slot.offset;
    if (slot.spec.kind == ParameterKind::kNorm) {
      std::fill(w, w + slot.size, 1.0f);
    } else if (slot.spec.kind == ParameterKind::kBias) {
      std::fill(w, w + slot.size, 0.0f);
    } else {
      const double deviation = Deviation(slot.spec, layers);
      Philox random(MixKey(seed, HashString(slot.spec.name)));
      for (int64_t i = 0; i < slot.size; ++i)
        w[i] = static_cast<float>(random.Normal() * deviation);
    }
  }
  const int64_t size = parameters->size();
  std::copy(parameters->weight(), parameters->weight() + size, parameters->average());
  std::fill(parameters->adam_m(), parameters->adam_m() + size, 0.0f);
  std::fill(parameters->adam_v(), parameters->adam_v() + size, 0.0f);
  parameters->MarkChanged();
}

}  // namespace tritter
