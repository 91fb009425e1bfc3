// Attention of training, forward and backward, in tiles (Dao et al. 2022, arXiv:2205.14135): memory
// is linear in the length, and a tile of scores that the mask leaves empty is never computed, so
// that a window costs length · window. Single-threaded over the heads given; results depend on the
// instruction set as those of kernels/training_ops.h do.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention_mask.h"

namespace tritter {

// The query heads that share one key head, over one sequence. Position t of query head h is at
// q + t * q_stride + h * d, its keys and values at k + t * k_stride and v + t * v_stride. Scores
// are scaled by 1/sqrt(d).
struct AttentionGroup {
  int64_t heads = 1, d = 0;
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  AttentionMask mask;
};

// Floats of working memory for either direction.
int64_t AttentionScratch(int64_t length, int64_t d);
// out [length, heads, d] (rows out_stride apart). lse [heads, length] is for the backward pass:
// log2(Σ exp(score)) of every query.
void AttentionForward(const AttentionGroup& group, float* scratch, float* out, int64_t out_stride,
                      float* lse);
// dq, dk and dv are written, laid out as q, k and v with rows d_stride apart. A gradient that no
// visible pair carries is exactly zero.
void AttentionBackward(const AttentionGroup& group, const float* out, int64_t out_stride,
                       const float* lse, const float* dout, int64_t dout_stride, float* scratch,
                       float* dq, float* dk, float* dv, int64_t d_stride);

// The functions above for one instruction set; those above call the best one this CPU runs.
struct AttentionOps {
  const char* name;  // "baseline", "avx2", "avx512"
  decltype(&tritter::AttentionForward) forward;
  decltype(&tritter::AttentionBackward) backward;
};
// Those that this CPU can run, slowest first. For tests.
std::vector<const AttentionOps*> SupportedAttentionOps();

}  // namespace tritter
