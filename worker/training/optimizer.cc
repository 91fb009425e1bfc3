#include "worker/training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/training_ops.h"

namespace tritter {
namespace {
// Unit in which the flat arrays are split over threads and the norm is summed.
constexpr int64_t kBlock = 16384;

std::string NonFiniteIn(const ParameterStore& parameters, const float* values,
                        absl::string_view what) {
  for (const ParameterSlot& slot : parameters.slots()) {
    for (int64_t i = 0; i < slot.size; ++i) {
      if (!std::isfinite(values[slot.offset + i])) {
        return absl::StrCat(what, " ", slot.spec.name, " (element ", i, " is ",
                            values[slot.offset + i], ")");
      }
    }
  }
  return "";
}
}  // namespace

double AverageDecay(int64_t step, double window) {
  const double t = static_cast<double>(step);
  return std::min(1.0 - 1.0 / std::max(window, 1.0), t / (t + 9.0));
}

bool HasWeightDecay(ParameterKind kind) {
  return kind == ParameterKind::kTernary || kind == ParameterKind::kHead;
}

double GradientNorm(const ParameterStore& parameters, ParallelRows* parallel) {
  const int64_t size = parameters.size(), blocks = (size + kBlock - 1) / kBlock;
  std::vector<double> sums(blocks);
  parallel->Run(blocks, [&](int, int64_t first, int64_t end) {
    for (int64_t b = first; b < end; ++b) {
      sums[b] = SumSquares(parameters.gradient() + b * kBlock, std::min(kBlock, size - b * kBlock));
    }
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return std::sqrt(total);
}

std::string FirstNonFinite(const ParameterStore& parameters) {
  std::string found = NonFiniteIn(parameters, parameters.weight(), "weight");
  if (found.empty()) found = NonFiniteIn(parameters, parameters.gradient(), "gradient of");
  return found;
}

void AdamWUpdate(const RunSpec& spec, int64_t step, double learning_rate, double gradient_norm,
                 ParameterStore* parameters, ParallelRows* parallel) {
  const double t = static_cast<double>(step);
  AdamWStep update;
  update.gradient_scale = spec.clip_norm > 0 && gradient_norm > spec.clip_norm
                              ? static_cast<float>(spec.clip_norm / gradient_norm)
                              : 1.0f;
  update.beta1 = static_cast<float>(spec.beta1);
  update.beta2 = static_cast<float>(spec.beta2);
  update.correction1 = static_cast<float>(1.0 - std::pow(spec.beta1, t));
  update.correction2 = static_cast<float>(1.0 - std::pow(spec.beta2, t));
  update.epsilon = static_cast<float>(spec.epsilon);
  update.learning_rate = static_cast<float>(learning_rate);
  update.average_decay =
      static_cast<float>(AverageDecay(step, spec.ema_fraction * static_cast<double>(spec.steps)));
  for (const ParameterSlot& slot : parameters->slots()) {
    update.weight_decay =
        HasWeightDecay(slot.spec.kind) ? static_cast<float>(spec.weight_decay) : 0.0f;
    const int64_t blocks = (slot.size + kBlock - 1) / kBlock;
    parallel->Run(blocks, [&](int, int64_t first, int64_t end) {
      const int64_t at = slot.offset + first * kBlock,
                    count = std::min(end * kBlock, slot.size) - first * kBlock;
      if (count > 0) {
        AdamWRows(update, parameters->gradient() + at, count, parameters->weight() + at,
                  parameters->adam_m() + at, parameters->adam_v() + at, parameters->average() + at);
      }
    });
  }
  parameters->MarkChanged();
}

}  // namespace tritter
