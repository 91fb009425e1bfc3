// The differentiable operations of a block beside its linear layers, each one autograd node over
// the kernels of kernels/float_ops.h (forward: the arithmetic of serving) and
// kernels/training_ops.h (backward). LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/training/bit_linear.h"
#include "worker/training/norm.h"

namespace tritter {

// Rotary tables of the positions [first_position, first_position + length): rows of D/2.
struct RopeTables {
  std::vector<float> cos, sin, minus_sin;
};
RopeTables MakeRopeTables(const ModelConfig& config, int64_t first_position, int64_t length);

// Sequences of one pass. Tokens are ordered by sequence, then position: T = sequences * length.
struct SequenceShape {
  int64_t sequences = 0;
  int64_t length = 0;
};

// Norm of a (+ b where defined). a, b [T, width].
at::Tensor AddNorm(const LayerContext& context, const NormSlot& slot, const at::Tensor& a,
                   const at::Tensor& b);

// y plus the bias in `slot` [n]. y [T, n].
at::Tensor AddBias(const LayerContext& context, const ParameterSlot& slot, const at::Tensor& y);

struct AttentionSlots {
  NormSlot q_norm, k_norm;  // over D; none in family bitnet
};
// QK-norm, RoPE and causal attention. qkv [T, (N + 2K) D] -> [T, N D].
at::Tensor CausalAttention(const LayerContext& context, const AttentionSlots& slots,
                           const RopeTables& rope, SequenceShape shape, const at::Tensor& qkv);

// relu(gate)^2 * up of rows [gate | up]. gate_up [T, 2 I] -> [T, I].
at::Tensor GatedRelu2(const LayerContext& context, const at::Tensor& gate_up);

}  // namespace tritter
