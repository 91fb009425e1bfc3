// The optimiser of the device trainer: moments and averaged weights of the parameters that this
// rank keeps, as tensors on the device, and their update. The state that is written and read is the
// CPU's (worker/training/optimizer_state.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/parameter_groups.h"
#include "model/run_spec.h"
#include "worker/training/formula/tensor_kernels.h"
#include "worker/training/optimizer_state.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Owned by the trainer; one thread.
class DeviceOptimizer {
 public:
  // Of those parameters whose owner, by slot (AssignShares), is `rank`. `slots` and `kernels`
  // outlive it.
  DeviceOptimizer(const RunSpec& spec, const std::vector<ParameterSlot>& slots,
                  const std::vector<int>& owners, int rank, const TensorKernels* kernels,
                  const at::Device& place);

  // As Optimizer::Update. `gradient`, `weight`: flat, in the order of the slots.
  void Update(int64_t step, double learning_rate, double gradient_norm, const at::Tensor& gradient,
              const at::Tensor& weight);

  bool keeps_all() const { return keeps_all_; }
  // The averaged weights in the order of the slots. Only of an optimiser that keeps all.
  const at::Tensor& average() const { return average_; }
  // With sync outer (outer_sync.h), in the same order and the host's memory; null where the run
  // keeps none.
  float* residual() const { return Data(residual_); }
  float* outer_momentum() const { return Data(outer_momentum_); }
  // Makes `flat`, in the order of the slots, 0 but for the parameters that are kept here: of those
  // it has the averages, or what `from` has.
  void CopyKeptAverages(const at::Tensor& flat) const;
  void KeepOnlyKept(const at::Tensor& from, const at::Tensor& flat) const;

  // `state` is of the same run, owners and rank.
  void Upload(const OptimizerState& state);
  void Download(OptimizerState* state) const;

 private:
  static float* Data(const at::Tensor& array) {
    return array.numel() > 0 ? array.mutable_data_ptr<float>() : nullptr;
  }
  // Of one parameter: ranges of the arrays below; undefined where it has nothing of the kind.
  struct Kept {
    ParameterGroup group;
    bool kept = false;
    at::Tensor average, m, v;
    TensorMoments8 moments8;
    at::Tensor residual, outer_momentum;
  };
  // Calls copy(tensor of the device, tensor over the host's array) for everything that is kept.
  template <typename Copy>
  void ForEachArray(const OptimizerState& state, const Copy& copy) const;
  // The first slot behind `first` that is not updated in one launch with it.
  size_t EndOfLaunch(size_t first) const;
  void UpdateMuon(size_t slot, const AdamWStep& step, double learning_rate,
                  const at::Tensor& gradient, const at::Tensor& weight) const;

  const RunSpec spec_;
  const std::vector<ParameterSlot>& slots_;
  const TensorKernels* const kernels_;
  std::vector<Kept> kept_;
  bool keeps_all_ = true;
  at::Tensor average_, m_, v_, codes_, scales_;  // of the kept parameters, one after the other
  at::Tensor residual_, outer_momentum_;         // likewise, on the host
};

}  // namespace tritter
