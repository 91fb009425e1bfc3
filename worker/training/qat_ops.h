// The differentiable operations of a block beside its linear layers and attention, each one
// autograd node over the kernels of kernels/float_ops.h (forward: the arithmetic of serving) and
// kernels/training_ops.h (backward). LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include "worker/training/bit_linear.h"
#include "worker/training/norm.h"

namespace tritter {

// Norm of a (+ b where defined). a, b [T, width].
at::Tensor AddNorm(const LayerContext& context, const NormSlot& slot, const at::Tensor& a,
                   const at::Tensor& b);

// y plus the bias in `slot` [n]. y [T, n].
at::Tensor AddBias(const LayerContext& context, const ParameterSlot& slot, const at::Tensor& y);

// relu(gate)^2 * up of rows [gate | up]. gate_up [T, 2 I] -> [T, I].
at::Tensor GatedRelu2(const LayerContext& context, const at::Tensor& gate_up);

}  // namespace tritter
