// The arithmetic of a training step over whole tensors that a device has its own kernels for:
// quantisers, norms, rotation, gate, cross-entropy, optimiser. The methods here are the plain
// LibTorch formulas, right on every device; worker/cuda/cuda_kernels.h overrides them and is tested
// against them. Nothing here is recorded by autograd.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "kernels/training_ops.h"
#include "model/config.h"

namespace tritter {

// Rows of codes, each with one factor: a value is code · factor.
struct QuantisedRows {
  at::Tensor codes;   // [rows, n] int8
  at::Tensor factor;  // [rows] float
};

// AdamW's moments in 8 bits (kernels/optimizer_ops.h), on the device: codes [n] uint8, scales
// [MomentBlocks(n)] float.
struct TensorMoments8 {
  at::Tensor m_codes, m_scales, root_codes, root_scales;
};

struct HeadShape {
  int64_t heads, kv_heads, dim;  // N, K, D
};

class TensorKernels {
 public:
  virtual ~TensorKernels() = default;
  virtual std::string name() const { return "LibTorch's formulas"; }

  // [m, k] x [k, n] -> [m, n] float, summed in float whatever the type of the operands.
  virtual at::Tensor FloatProduct(const at::Tensor& a, const at::Tensor& b) const;
  // The same written to `out` [m, n] float, or added to it.
  virtual void FloatProductInto(const at::Tensor& a, const at::Tensor& b, bool add,
                                const at::Tensor& out) const;

  // int8 codes of every row of x [T, n], which goes through an RMSNorm first where `norm` [n] is
  // defined.
  virtual QuantisedRows QuantiseRows(const at::Tensor& x, const at::Tensor& norm, double eps) const;
  // Ternary codes of w [out, in] float, in [-1, 1], with the factors of absmean. `parts`: rows of
  // the matrices that are stacked in w, each of which has its own mean with granularity tensor.
  // With weight rule threshold `scale` [out] is the factor.
  virtual QuantisedRows QuantiseMatrix(const at::Tensor& w, const std::vector<int64_t>& parts,
                                       const ModelConfig& config, const at::Tensor& scale) const;
  // (Σ codes · codes, an exact integer) · w.factor · x.factor, [T, out] in `type`.
  virtual at::Tensor QuantisedProduct(const QuantisedRows& x, const QuantisedRows& w,
                                      at::ScalarType type) const;
  // code · factor, in `type`.
  virtual at::Tensor Dequantise(const QuantisedRows& rows, at::ScalarType type) const;

  // RMSNorm of rows [T, n] with a weight [n] float; the result has x's type.
  virtual at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) const;
  // dx, and the gradient of the weight [n] float.
  virtual std::pair<at::Tensor, at::Tensor> RmsNormBackward(const at::Tensor& x,
                                                            const at::Tensor& weight, double eps,
                                                            const at::Tensor& dy) const;

  // qkv [T, (N + 2K)·D] -> q and k normed over D (where the weights [D] float are defined) and
  // rotated, [T, (N + K)·D]. cos, sin [L, D/2] float; row t stands at position t mod L.
  virtual at::Tensor PlaceHeads(const at::Tensor& qkv, HeadShape shape, const at::Tensor& q_norm,
                                const at::Tensor& k_norm, double eps, const at::Tensor& cos,
                                const at::Tensor& sin) const;
  // From the gradients of that, [T, (N + K)·D], and of v, [T, K·D].
  struct PlacedGradient {
    at::Tensor qkv;             // [T, (N + 2K)·D]
    at::Tensor q_norm, k_norm;  // [D] float, undefined where there is no norm
  };
  virtual PlacedGradient PlaceHeadsBackward(const at::Tensor& qkv, HeadShape shape,
                                            const at::Tensor& q_norm, const at::Tensor& k_norm,
                                            double eps, const at::Tensor& cos,
                                            const at::Tensor& sin, const at::Tensor& dqk,
                                            const at::Tensor& dv) const;

  // [T, 2I] -> relu(gate)² ⊙ up, [T, I]; and the gradient of [T, 2I].
  virtual at::Tensor Gate(const at::Tensor& gate_up) const;
  virtual at::Tensor GateBackward(const at::Tensor& gate_up, const at::Tensor& dy) const;

  // logits [T, V] float; targets [T] (-1: none); weights [T] float. Σ w (ℓ + z (log Z)²) as a
  // double on the device, and its gradient · scale in `type`, [T, V].
  virtual std::pair<at::Tensor, at::Tensor> CrossEntropy(const at::Tensor& logits,
                                                         const at::Tensor& targets,
                                                         const at::Tensor& weights, double scale,
                                                         double z_loss, at::ScalarType type) const;

  // AdamW and the running average on ranges of the flat float arrays, in place.
  virtual void AdamW(const AdamWStep& step, const at::Tensor& gradient, const at::Tensor& w,
                     const at::Tensor& m, const at::Tensor& v, const at::Tensor& average) const;
  // The same with moments in 8 bits. The ranges are those of one parameter.
  virtual void AdamW8(const AdamWStep& step, const at::Tensor& gradient, const at::Tensor& w,
                      const TensorMoments8& moments, const at::Tensor& average) const;
};

}  // namespace tritter
