#include "worker/training/optimizer_state.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/parameter_shares.h"

namespace tritter {

OptimizerState::OptimizerState(const RunSpec& spec, const ParameterStore& parameters,
                               const std::vector<int>& owners, int rank) {
  int64_t average = 0, m = 0, v = 0, codes = 0, scales = 0;
  // Twice: the sizes, then the places.
  for (const bool place : {false, true}) {
    if (place) {
      average_ = FloatBuffer(average);
      m_ = FloatBuffer(m);
      v_ = FloatBuffer(v);
      scales_ = FloatBuffer(scales);
      codes_.assign(codes, 0);
      average = m = v = codes = scales = 0;
    }
    for (size_t i = 0; i < parameters.slots().size(); ++i) {
      const ParameterSlot& slot = parameters.slots()[i];
      SlotState state;
      state.group = GroupOf(spec, slot.spec);
      state.kept = owners[i] == rank;
      keeps_all_ = keeps_all_ && state.kept;
      if (state.kept) {
        const int64_t blocks = MomentBlocks(slot.size);
        const bool adamw = state.group.optimizer == OptimizerKind::kAdamW;
        if (place) {  // before that there is no memory to point into
          state.average = average_.data() + average;
          if (state.group.moments_8bit) {
            uint8_t* const code = codes_.data() + codes;
            float* const scale = scales_.data() + scales;
            state.moments8 = {code, scale, code + slot.size, scale + blocks};
          } else {
            state.m = m_.data() + m;
            if (adamw) state.v = v_.data() + v;
          }
        }
        average += slot.size;
        if (state.group.moments_8bit) {
          codes += 2 * slot.size;
          scales += 2 * blocks;
        } else {
          m += slot.size;
          if (adamw) v += slot.size;
        }
      }
      if (place) slots_.push_back(std::move(state));
    }
  }
}

void OptimizerState::Reset(const ParameterStore& parameters) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].kept) continue;
    const ParameterSlot& slot = parameters.slots()[i];
    std::memcpy(slots_[i].average, parameters.weight() + slot.offset, slot.size * sizeof(float));
  }
  for (FloatBuffer* buffer : {&m_, &v_, &scales_})
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

std::vector<StateTensor> StateTensors(ParameterStore* parameters, const OptimizerState& state,
                                      size_t index) {
  const ParameterSlot& slot = parameters->slots()[index];
  const SlotState& s = state.slots()[index];
  std::vector<StateTensor> tensors;
  const auto add = [&](const char* kind, DType dtype, std::vector<int64_t> shape, auto* data,
                       int64_t count) {
    if (data == nullptr) return;
    tensors.push_back({absl::StrCat(kind, "/", slot.spec.name), dtype, std::move(shape),
                       reinterpret_cast<uint8_t*>(data),
                       count * static_cast<int64_t>(sizeof(*data))});
  };
  const int64_t blocks = MomentBlocks(slot.size);
  const bool muon = s.group.optimizer == OptimizerKind::kMuon;
  // Whoever writes says so to the store: a copy of the state leaves what is derived as it is.
  add("weight", DType::kF32, slot.spec.shape,
      const_cast<float*>(parameters->weight()) + slot.offset, slot.size);
  add(muon ? "muon_m" : "adam_m", DType::kF32, slot.spec.shape, s.m, slot.size);
  add("adam_v", DType::kF32, slot.spec.shape, s.v, slot.size);
  add("adam_m_codes", DType::kU8, slot.spec.shape, s.moments8.m_codes, slot.size);
  add("adam_m_scales", DType::kF32, {blocks}, s.moments8.m_scales, blocks);
  add("adam_root_v_codes", DType::kU8, slot.spec.shape, s.moments8.root_codes, slot.size);
  add("adam_root_v_scales", DType::kF32, {blocks}, s.moments8.root_scales, blocks);
  add("ema", DType::kF32, slot.spec.shape, s.average, slot.size);
  return tensors;
}

std::vector<int> AssignShares(const std::vector<ParameterSlot>& slots, int world_size) {
  std::vector<int64_t> sizes;
  for (const ParameterSlot& slot : slots) sizes.push_back(slot.size);
  return AssignShares(sizes, world_size);
}

}  // namespace tritter
