// Attention of a block as one autograd node: the norms of q and k, the rotation, and the kernels of
// kernels/training_attention.h under the mask of the configuration. LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
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
  // [T], DocumentStarts of the tokens; lives until the backward pass is over. Read by attention
  // `document` alone.
  const int32_t* document_start = nullptr;
};

struct AttentionSlots {
  NormSlot q_norm, k_norm;  // over D; none in family bitnet
};
// QK-norm, RoPE and attention. qkv [T, (N + 2K) D] -> [T, N D].
at::Tensor Attention(const LayerContext& context, const AttentionSlots& slots,
                     const RopeTables& rope, SequenceShape shape, const at::Tensor& qkv);

}  // namespace tritter
