// What the optimiser keeps of each parameter on one rank: the averaged weights and the moments of
// its group, of every parameter or, sharded (ZeRO stage 1: Rajbhandari et al. 2020,
// arXiv:1910.02054), of those that this rank updates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/optimizer_ops.h"
#include "model/parameter_groups.h"
#include "model/run_spec.h"
#include "model/safetensors.h"
#include "worker/training/float_buffer.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Of one parameter; pointers into the state's arrays, null where the group has nothing of the kind
// or another rank keeps it.
struct SlotState {
  ParameterGroup group;
  bool kept = false;
  float* average = nullptr;
  float* m = nullptr;  // AdamW's first moment or Muon's momentum, FP32
  float* v = nullptr;  // AdamW's second moment, FP32
  Moments8 moments8 = {nullptr, nullptr, nullptr, nullptr};  // AdamW's, in 8 bits
  // With sync outer (outer_sync.h), where the run keeps them.
  float* residual = nullptr;
  float* outer_momentum = nullptr;
};

// One tensor of the state as it stands in a checkpoint.
template <typename Byte>
struct StateTensorOf {
  std::string name;  // "weight/…", "adam_m/…": docs/formats/checkpoint.md
  DType dtype;
  std::vector<int64_t> shape;
  Byte* data;
  int64_t bytes;
  bool local = false;  // every rank has its own; the others are the same on all ranks
};
using StateTensor = StateTensorOf<const uint8_t>;
using MutableStateTensor = StateTensorOf<uint8_t>;

// Owned by the trainer; not thread-safe. Holds no LibTorch type.
class OptimizerState {
 public:
  // Of those parameters whose owner, by slot (AssignShares), is `rank`.
  OptimizerState(const RunSpec& spec, const ParameterStore& parameters,
                 const std::vector<int>& owners, int rank);
  // Everything of every parameter.
  OptimizerState(const RunSpec& spec, const ParameterStore& parameters)
      : OptimizerState(spec, parameters, std::vector<int>(parameters.slots().size(), 0), 0) {}

  const std::vector<SlotState>& slots() const { return slots_; }
  bool keeps_all() const { return keeps_all_; }
  // The averaged weights in the order of ParameterStore::weight(). Only of a state that keeps all.
  float* average() { return average_.data(); }
  const float* average() const { return average_.data(); }
  // Moments and residuals are every rank's own: sync outer.
  bool is_local() const { return is_local_; }
  // In the same order; null where the run keeps none.
  float* residual() { return residual_.data(); }
  float* outer_momentum() { return outer_momentum_.data(); }

  // Averages are the weights, moments zero: before the first step.
  void Reset(const ParameterStore& parameters);

 private:
  std::vector<SlotState> slots_;
  bool keeps_all_ = true, is_local_ = false;
  FloatBuffer average_, m_, v_, scales_, residual_, outer_momentum_;
  std::vector<uint8_t> codes_;
};

// Every tensor of parameter `index`, the weight first; those alone that are kept here.
std::vector<StateTensor> StateTensors(const ParameterStore& parameters, const OptimizerState& state,
                                      size_t index);
// The same to write: as ParameterStore::MutableWeights.
std::vector<MutableStateTensor> MutableStateTensors(ParameterStore* parameters,
                                                    OptimizerState* state, size_t index);

// Rank that updates and writes each parameter (all tensors of it): model/parameter_shares.h.
std::vector<int> AssignShares(const std::vector<ParameterSlot>& slots, int world_size);

}  // namespace tritter
