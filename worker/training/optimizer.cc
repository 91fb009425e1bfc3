#include "worker/training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/optimizer_ops.h"
#include "kernels/training_ops.h"
#include "model/parameter_shares.h"

namespace tritter {
namespace {
// Unit in which the flat arrays are split over threads and the norm is summed.
constexpr int64_t kBlock = 16384;
static_assert(kBlock % kMomentBlock == 0);
}  // namespace

double AverageDecay(int64_t step, int64_t window) {
  const double t = static_cast<double>(step);
  return std::min(1.0 - 1.0 / static_cast<double>(std::max<int64_t>(window, 1)), t / (t + 9.0));
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

void Optimizer::Split(int64_t size, const std::function<void(int64_t first, int64_t count)>& body) {
  parallel_->Run((size + kBlock - 1) / kBlock, [&](int, int64_t first, int64_t end) {
    const int64_t at = first * kBlock, count = std::min(end * kBlock, size) - at;
    if (count > 0) body(at, count);
  });
}

AdamWStep AdamWStepOf(const RunSpec& spec, int64_t step, double gradient_norm) {
  const double t = static_cast<double>(step);
  AdamWStep out = {};
  out.gradient_scale = spec.clip_norm > 0 && gradient_norm > spec.clip_norm
                           ? static_cast<float>(spec.clip_norm / gradient_norm)
                           : 1.0f;
  out.beta1 = static_cast<float>(spec.beta1);
  out.beta2 = static_cast<float>(spec.beta2);
  out.correction1 = static_cast<float>(1.0 - std::pow(spec.beta1, t));
  out.correction2 = static_cast<float>(1.0 - std::pow(spec.beta2, t));
  out.epsilon = static_cast<float>(spec.epsilon);
  // With sync outer the averages follow at the end of a round (outer_sync.h).
  out.average_decay =
      IsOuter(spec) ? 1.0f : static_cast<float>(AverageDecay(step, spec.ema_window));
  return out;
}

void Optimizer::Update(int64_t step, double learning_rate, double gradient_norm,
                       ParameterStore* parameters, OptimizerState* state) {
  AdamWStep adamw = AdamWStepOf(spec_, step, gradient_norm);
  float* const weights = parameters->MutableWeights();
  std::vector<size_t> matrices;
  for (size_t index = 0; index < parameters->slots().size(); ++index) {
    const ParameterSlot& slot = parameters->slots()[index];
    const SlotState& kept = state->slots()[index];
    if (!kept.kept) continue;
    const ParameterGroup& group = kept.group;
    if (group.optimizer == OptimizerKind::kMuon) {
      matrices.push_back(index);
      continue;
    }
    float* weight = weights + slot.offset;
    const float* gradient = parameters->gradient() + slot.offset;
    adamw.learning_rate = static_cast<float>(learning_rate * group.rate_factor);
    adamw.weight_decay = static_cast<float>(group.weight_decay);
    Split(slot.size, [&](int64_t at, int64_t count) {
      if (kept.m != nullptr) {
        AdamWRows(adamw, gradient + at, count, weight + at, kept.m + at, kept.v + at,
                  kept.average + at);
        return;
      }
      const Moments8& m8 = kept.moments8;
      const int64_t block = at / kMomentBlock;
      AdamW8Rows(adamw, gradient + at, count, weight + at,
                 {m8.m_codes + at, m8.m_scales + block, m8.root_codes + at, m8.root_scales + block},
                 kept.average + at);
    });
  }
  UpdateMatrices(matrices, learning_rate, adamw, *parameters, weights, state);
}

void Optimizer::UpdateMatrices(const std::vector<size_t>& indices, double learning_rate,
                               const AdamWStep& step, const ParameterStore& parameters,
                               float* weights, OptimizerState* state) {
  if (indices.empty()) return;
  std::vector<int64_t> work;  // of the iterations: the larger side times the square of the smaller
  for (const size_t index : indices) {
    const ParameterSlot& slot = parameters.slots()[index];
    work.push_back(slot.size * std::min(slot.spec.shape[0], slot.spec.shape[1]));
  }
  const std::vector<int> threads = AssignShares(work, parallel_->parts());
  const auto update = [&](size_t index, FloatBuffer* buffer) {
    const ParameterSlot& slot = parameters.slots()[index];
    const SlotState& kept = state->slots()[index];
    float* const direction = buffer->Reserve(slot.size);
    MuonMomentumRows(parameters.gradient() + slot.offset, slot.size, step.gradient_scale,
                     static_cast<float>(spec_.momentum), kept.m, direction);
    orthogonalise_(direction, slot.spec.shape[0], slot.spec.shape[1]);
    const MuonStep muon = {static_cast<float>(learning_rate),
                           static_cast<float>(kept.group.rate_factor),
                           static_cast<float>(kept.group.weight_decay), step.average_decay};
    MuonApplyRows(muon, direction, slot.size, weights + slot.offset, kept.average);
  };
  parallel_->Run(parallel_->parts(), [&](int, int64_t first, int64_t end) {
    for (size_t i = 0; i < indices.size(); ++i) {
      if (threads[i] >= first && threads[i] < end) update(indices[i], &directions_[threads[i]]);
    }
  });
}

}  // namespace tritter
