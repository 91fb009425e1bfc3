#include "worker/training/formula/device_optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "worker/training/newton_schulz.h"
#include "worker/training/optimizer.h"
#include "worker/training/state_layout.h"

namespace tritter {
DeviceOptimizer::DeviceOptimizer(const RunSpec& spec, const std::vector<ParameterSlot>& slots,
                                 const std::vector<int>& owners, int rank,
                                 const TensorKernels* kernels, const at::Device& place)
    : spec_(spec), slots_(slots), kernels_(kernels) {
  StateLayout layout = LayoutOf(spec_, slots_, owners, rank);
  keeps_all_ = layout.keeps_all;
  const auto floats = at::device(place).dtype(at::kFloat);
  average_ = at::zeros({layout.average}, floats);
  m_ = at::zeros({layout.m}, floats);
  v_ = at::zeros({layout.v}, floats);
  scales_ = at::zeros({layout.scales}, floats);
  codes_ = at::zeros({layout.codes}, at::device(place).dtype(at::kByte));
  residual_ = at::zeros({layout.residual}, at::kFloat);
  outer_momentum_ = at::zeros({layout.outer_momentum}, at::kFloat);
  const auto part = [](const at::Tensor& array, int64_t first, int64_t size) {
    return first < 0 ? at::Tensor() : array.narrow(0, first, size);
  };
  for (size_t i = 0; i < slots_.size(); ++i) {
    StatePlaces& places = layout.slots[i];
    const int64_t size = slots_[i].size, blocks = MomentBlocks(size);
    kept_.push_back(
        {std::move(places.group),
         places.kept,
         part(average_, places.average, size),
         part(m_, places.m, size),
         part(v_, places.v, size),
         {part(codes_, places.m_codes, size), part(scales_, places.m_scales, blocks),
          part(codes_, places.root_codes, size), part(scales_, places.root_scales, blocks)},
         part(residual_, places.residual, size),
         part(outer_momentum_, places.outer_momentum, size)});
  }
}

template <typename Copy>
void DeviceOptimizer::ForEachArray(const OptimizerState& state, const Copy& copy) const {
  const auto one = [&](const at::Tensor& tensor, void* host) {
    if (tensor.defined())
      copy(tensor, at::from_blob(host, tensor.sizes(), at::dtype(tensor.scalar_type())));
  };
  for (size_t i = 0; i < kept_.size(); ++i) {
    const Kept& here = kept_[i];
    const SlotState& there = state.slots()[i];
    one(here.average, there.average);
    one(here.m, there.m);
    one(here.v, there.v);
    one(here.moments8.m_codes, there.moments8.m_codes);
    one(here.moments8.m_scales, there.moments8.m_scales);
    one(here.moments8.root_codes, there.moments8.root_codes);
    one(here.moments8.root_scales, there.moments8.root_scales);
    one(here.residual, there.residual);
    one(here.outer_momentum, there.outer_momentum);
  }
}

void DeviceOptimizer::Upload(const OptimizerState& state) {
  ForEachArray(state, [](at::Tensor device, const at::Tensor& host) { device.copy_(host); });
}
void DeviceOptimizer::Download(OptimizerState* state) const {
  ForEachArray(*state, [](const at::Tensor& device, at::Tensor host) { host.copy_(device); });
}

void DeviceOptimizer::CopyKeptAverages(const at::Tensor& flat) const {
  flat.zero_();
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (kept_[i].kept) flat.narrow(0, slots_[i].offset, slots_[i].size).copy_(kept_[i].average);
  }
}

void DeviceOptimizer::KeepOnlyKept(const at::Tensor& from, const at::Tensor& flat) const {
  flat.zero_();
  for (size_t i = 0; i < kept_.size(); ++i) {
    const int64_t offset = slots_[i].offset, size = slots_[i].size;
    if (kept_[i].kept) flat.narrow(0, offset, size).copy_(from.narrow(0, offset, size));
  }
}

size_t DeviceOptimizer::EndOfLaunch(size_t first) const {
  const ParameterGroup& group = kept_[first].group;
  size_t end = first + 1;
  // Neighbours that are kept are neighbours in every array.
  while (end < kept_.size() && kept_[end].kept && kept_[end].v.defined() &&
         kept_[end].group.weight_decay == group.weight_decay &&
         kept_[end].group.rate_factor == group.rate_factor) {
    ++end;
  }
  return end;
}

void DeviceOptimizer::UpdateMuon(size_t slot, const AdamWStep& step, double learning_rate,
                                 const at::Tensor& gradient, const at::Tensor& weight) const {
  const Kept& kept = kept_[slot];
  const auto part = [&](const at::Tensor& all) {
    return all.narrow(0, slots_[slot].offset, slots_[slot].size);
  };
  const at::Tensor w = part(weight),
                   g = part(gradient) * (step.gradient_scale * (1.0 - spec_.momentum));
  kept.m.mul_(spec_.momentum).add_(g);
  const at::Tensor direction = (kept.m * spec_.momentum).add_(g).view(slots_[slot].spec.shape);
  const at::Tensor orthogonal =
      OrthogonalOf(direction, at::linalg_vector_norm(direction, 2, {}, false, at::kDouble));
  w.mul_(1.0 - learning_rate * kept.group.weight_decay);
  w.sub_(orthogonal.reshape({-1}), learning_rate * kept.group.rate_factor);
  kept.average.add_(w - kept.average, 1.0 - step.average_decay);
}

void DeviceOptimizer::Update(int64_t step, double learning_rate, double gradient_norm,
                             const at::Tensor& gradient, const at::Tensor& weight) {
  const c10::NoGradGuard no_grad;
  AdamWStep update = AdamWStepOf(spec_, step, gradient_norm);
  for (size_t first = 0, end; first < slots_.size(); first = end) {
    const Kept& kept = kept_[first];
    end = first + 1;
    if (!kept.kept) continue;
    update.learning_rate = static_cast<float>(learning_rate * kept.group.rate_factor);
    update.weight_decay = static_cast<float>(kept.group.weight_decay);
    if (kept.group.optimizer == OptimizerKind::kMuon) {
      UpdateMuon(first, update, learning_rate, gradient, weight);
      continue;
    }
    if (!kept.group.moments_8bit) end = EndOfLaunch(first);
    const int64_t offset = slots_[first].offset,
                  size = slots_[end - 1].offset + slots_[end - 1].size - offset;
    const at::Tensor g = gradient.narrow(0, offset, size), w = weight.narrow(0, offset, size);
    // From the first parameter's place in its array.
    const auto part = [&](const at::Tensor& all, const at::Tensor& of_first) {
      return all.narrow(0, of_first.storage_offset(), size);
    };
    const at::Tensor average = part(average_, kept.average);
    if (kept.group.moments_8bit) {
      kernels_->AdamW8(update, g, w, kept.moments8, average);
    } else {
      kernels_->AdamW(update, g, w, part(m_, kept.m), part(v_, kept.v), average);
    }
  }
}

}  // namespace tritter
