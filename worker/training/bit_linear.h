// BitLinear: quantisation-aware linear layer (BitNet b1.58, Ma et al. 2024, arXiv:2402.17764).
//
// Forward: ternary codes q with one absmean scale per row (or tensor), int8 activations per token,
// the exact integer dot product, then (acc * scale) * inv: bit-equal to the serving kernels
// whatever the batch. Backward, straight-through: dX = dY (s q), dW = dYᵀ X̂ with X̂ the dequantised
// activations; scales get no gradient.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "worker/training/gradient_sink.h"
#include "worker/training/linear.h"
#include "worker/training/parallel.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// What the layers of one network share. All outlive the layers.
struct LayerContext {
  const ModelConfig* config = nullptr;
  ParameterStore* parameters = nullptr;
  GradientSink* sink = nullptr;
  ParallelRows* parallel = nullptr;
};

// How exact integer products are formed: both give the same bits.
enum class IntegerGemm { kInt8, kFloat };
// kInt8 where LibTorch's int8 product runs on this CPU's dot-product instructions and agrees with
// the float one.
IntegerGemm BestIntegerGemm();

class BitLinear : public Linear {
 public:
  // Errors: NotFound, FailedPrecondition (as ParameterStore::FindAdjacent).
  static absl::StatusOr<std::unique_ptr<Linear>> Create(const LayerContext& context,
                                                        const LinearRequest& request);
  at::Tensor Forward(const at::Tensor& x) override;

 private:
  friend struct BitLinearFunction;
  BitLinear(const LayerContext& context, ParameterSlot slot, std::vector<int64_t> part_rows);
  // Quantises the weights anew when they have changed since the last call.
  void RefreshCodes();
  at::Tensor Multiply(const at::Tensor& x8, const at::Tensor& inv);
  at::Tensor Backward(const at::Tensor& x8, const at::Tensor& inv, const at::Tensor& dy);

  LayerContext context_;
  ParameterSlot slot_;
  std::vector<int64_t>
      part_rows_;  // rows of each stacked matrix (granularity "tensor" has a scale for each)
  int64_t in_, out_;
  IntegerGemm gemm_;
  at::Tensor codes_;      // [out, in] int8
  at::Tensor scales_;     // [out] float, repeated where one scale serves a whole tensor
  uint64_t version_ = 0;  // of the weights that codes_ belong to
};

LinearFactory BitLinearFactory(const LayerContext& context);

}  // namespace tritter
