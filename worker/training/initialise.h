// Fresh weights as a pure function of (seed, parameter name).
//
// Scheme: norms are 1; embedding rows are normal with deviation 1 (the first norm makes their size
// irrelevant for the first block, and the residual stream then has the size of the post-norm
// outputs); ternary matrices are normal with deviation 1/sqrt(in), those that write into the
// residual stream (attn.o, ffn.down) smaller by 1/sqrt(2 layers); the output head is normal with
// deviation 0.02/sqrt(H), so that logits start near zero and the cross-entropy at ln V.
#pragma once

#include <cstdint>

#include "worker/training/parameter_store.h"

namespace tritter {

// Writes weights and averages, zeroes moments.
void InitialiseParameters(uint64_t seed, int64_t layers, ParameterStore* parameters);

}  // namespace tritter
