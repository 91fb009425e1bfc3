// BitLinear: quantisation-aware linear layer (BitNet b1.58, Ma et al. 2024, arXiv:2402.17764), and
// what it becomes when the configuration turns its quantisers off one by one.
//
// Forward: ternary codes q with one scale per row (or tensor), int8 activations per token, the
// exact integer dot product, then (acc * scale) * inv: bit-equal to the serving kernels whatever
// the batch. Backward, straight-through: dX = dY Ŵ, dŴ = dYᵀ X̂ with Ŵ = s q and X̂ the dequantised
// activations, and dŴ is the gradient of W. A scale of rule absmean gets no gradient; one of rule
// threshold is a parameter of its own, with ds_r = sum_i dŴ_ri q_ri.
// Activations none: X̂ = X. Rule none: a plain linear layer, Ŵ = W and X̂ = X whatever `activations`
// says.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "worker/training/gradient_sink.h"
#include "worker/training/linear.h"
#include "worker/training/matrix_products.h"
#include "worker/training/parallel.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// What the layers of one network share. All outlive the layers.
struct LayerContext {
  const ModelConfig* config = nullptr;
  ParameterStore* parameters = nullptr;
  GradientSink* sink = nullptr;
  ParallelRows* parallel = nullptr;
  MatrixProducts* products = nullptr;
  // Layers of a segment whose activations are computed again in the backward pass; 0 keeps all.
  int64_t recompute_layers = 0;
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
  BitLinear(const LayerContext& context, ParameterSlot slot, std::vector<int64_t> part_rows,
            ParameterSlot scale_slot);
  bool quantises_weights() const { return context_.config->weight_rule != WeightRule::kNone; }
  bool quantises_activations() const {
    return quantises_weights() && context_.config->activations == ActivationRule::kInt8;
  }
  // Quantises the weights anew when they have changed since the last call.
  void RefreshCodes();
  // Ŵ [out, in] as codes with a scale a row, or W itself with none.
  GemmOperand WeightOperand() const;
  const float* WeightScales() const;
  // X̂ [tokens, in] from its codes.
  at::Tensor Dequantise(const at::Tensor& x8, const at::Tensor& inv);
  // x Ŵᵀ of numbers.
  at::Tensor MultiplyPlain(const at::Tensor& x);
  // The product of both kinds of codes.
  at::Tensor Multiply(const at::Tensor& x8, const at::Tensor& inv);
  // x: codes with inv, or numbers when inv is undefined.
  at::Tensor Backward(const at::Tensor& x, const at::Tensor& inv, const at::Tensor& dy);
  // Of the learned scales, [out], from dŴ.
  std::vector<float> ScaleGradient(const float* dw);

  LayerContext context_;
  ParameterSlot slot_;
  std::vector<int64_t>
      part_rows_;  // rows of each stacked matrix (granularity "tensor" has a scale for each)
  ParameterSlot scale_slot_;  // of rule threshold, else empty
  int64_t in_, out_;
  IntegerGemm gemm_;
  at::Tensor codes_;      // [out, in] int8
  at::Tensor scales_;     // [out] float, repeated where one scale serves a whole tensor
  uint64_t version_ = 0;  // of the weights that codes_ belong to
};

LinearFactory BitLinearFactory(const LayerContext& context);

}  // namespace tritter
