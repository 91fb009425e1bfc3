#include "worker/training/optimizer_state.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/parameter_shares.h"
#include "worker/training/state_layout.h"

namespace tritter {

OptimizerState::OptimizerState(const RunSpec& spec, const ParameterStore& parameters,
                               const std::vector<int>& owners, int rank) {
  StateLayout layout = LayoutOf(spec, parameters.slots(), owners, rank);
  keeps_all_ = layout.keeps_all;
  is_local_ = IsOuter(spec);
  average_ = FloatBuffer(layout.average);
  m_ = FloatBuffer(layout.m);
  v_ = FloatBuffer(layout.v);
  scales_ = FloatBuffer(layout.scales);
  codes_.assign(layout.codes, 0);
  if (layout.residual > 0) residual_ = FloatBuffer(layout.residual);
  if (layout.outer_momentum > 0) outer_momentum_ = FloatBuffer(layout.outer_momentum);
  const auto at = [](auto* array, int64_t place) { return place < 0 ? nullptr : array + place; };
  for (StatePlaces& places : layout.slots) {
    SlotState state;
    state.group = std::move(places.group);
    state.kept = places.kept;
    state.average = at(average_.data(), places.average);
    state.m = at(m_.data(), places.m);
    state.v = at(v_.data(), places.v);
    state.moments8 = {at(codes_.data(), places.m_codes), at(scales_.data(), places.m_scales),
                      at(codes_.data(), places.root_codes), at(scales_.data(), places.root_scales)};
    state.residual = at(residual_.data(), places.residual);
    state.outer_momentum = at(outer_momentum_.data(), places.outer_momentum);
    slots_.push_back(std::move(state));
  }
}

void OptimizerState::Reset(const ParameterStore& parameters) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].kept) continue;
    const ParameterSlot& slot = parameters.slots()[i];
    std::memcpy(slots_[i].average, parameters.weight() + slot.offset, slot.size * sizeof(float));
  }
  for (FloatBuffer* buffer : {&m_, &v_, &scales_, &residual_, &outer_momentum_})
    std::fill(buffer->data(), buffer->data() + buffer->size(), 0.0f);
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Moments8& moments = slots_[i].moments8;
    if (moments.m_codes == nullptr) continue;
    const int64_t size = parameters.slots()[i].size;
    // The codes of zero.
    std::memset(moments.m_codes, 127, size);
    std::memset(moments.root_codes, 0, size);
  }
}

namespace {

// `weights`: of all parameters.
template <typename Byte, typename Float>
std::vector<StateTensorOf<Byte>> TensorsOf(const ParameterSlot& slot, const SlotState& s,
                                           bool is_local, Float* weights) {
  std::vector<StateTensorOf<Byte>> tensors;
  const auto add = [&](const char* kind, DType dtype, std::vector<int64_t> shape, auto* data,
                       int64_t count, bool of_all = false) {
    if (data == nullptr) return;
    tensors.push_back({absl::StrCat(kind, "/", slot.spec.name), dtype, std::move(shape),
                       reinterpret_cast<Byte*>(data), count * static_cast<int64_t>(sizeof(*data)),
                       is_local && !of_all});
  };
  const int64_t blocks = MomentBlocks(slot.size);
  const bool muon = s.group.optimizer == OptimizerKind::kMuon;
  add("weight", DType::kF32, slot.spec.shape, weights + slot.offset, slot.size, true);
  add(muon ? "muon_m" : "adam_m", DType::kF32, slot.spec.shape, s.m, slot.size);
  add("adam_v", DType::kF32, slot.spec.shape, s.v, slot.size);
  add("adam_m_codes", DType::kU8, slot.spec.shape, s.moments8.m_codes, slot.size);
  add("adam_m_scales", DType::kF32, {blocks}, s.moments8.m_scales, blocks);
  add("adam_root_v_codes", DType::kU8, slot.spec.shape, s.moments8.root_codes, slot.size);
  add("adam_root_v_scales", DType::kF32, {blocks}, s.moments8.root_scales, blocks);
  add("ema", DType::kF32, slot.spec.shape, s.average, slot.size, true);
  add("outer_residual", DType::kF32, slot.spec.shape, s.residual, slot.size);
  add("outer_momentum", DType::kF32, slot.spec.shape, s.outer_momentum, slot.size, true);
  return tensors;
}

}  // namespace

std::vector<StateTensor> StateTensors(const ParameterStore& parameters, const OptimizerState& state,
                                      size_t index) {
  return TensorsOf<const uint8_t>(parameters.slots()[index], state.slots()[index], state.is_local(),
                                  parameters.weight());
}

std::vector<MutableStateTensor> MutableStateTensors(ParameterStore* parameters,
                                                    OptimizerState* state, size_t index) {
  return TensorsOf<uint8_t>(parameters->slots()[index], state->slots()[index], state->is_local(),
                            parameters->MutableWeights());
}

std::vector<int> AssignShares(const std::vector<ParameterSlot>& slots, int world_size) {
  std::vector<int64_t> sizes;
  for (const ParameterSlot& slot : slots) sizes.push_back(slot.size);
  return AssignShares(sizes, world_size);
}

}  // namespace tritter
