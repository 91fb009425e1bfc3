// Fresh weights as a pure function of (seed, parameter name).
//
// Scheme, for logits near zero, so that the cross-entropy starts at ln V:
//   norm weights 1, all biases 0;
//   embedding rows normal with deviation 1: the first norm makes their size irrelevant for the
//     first block, and the residual stream then has the size of the post-norm outputs;
//   tied embeddings, which are also the head, 1/sqrt(H), and the final norm's weights 0.1: logits
//     then have deviation 0.1, and the rows are neither lost beside the blocks' outputs nor slow to
//     learn;
//   block matrices normal with deviation 1/sqrt(in), those that write into the residual stream
//     (attn.o, ffn.down) smaller by 1/sqrt(2 layers), in both families;
//   output head 0.02/sqrt(H); a ternary one 0.2/sqrt(H), whose codes do not all flip in one step;
//   learned scales (weight_rule threshold) the mean of |W| over the entries that their row keeps.
#pragma once

#include <cstdint>

#include "worker/training/parameter_store.h"

namespace tritter {

// Writes every weight.
void InitialiseParameters(uint64_t seed, const ModelConfig& config, ParameterStore* parameters);

}  // namespace tritter
