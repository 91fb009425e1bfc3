// The products of a network in which an operand is no integer code: in FP32 through LibTorch, in
// BF16 (operands rounded, sums in FP32) through kernels/gemm.h.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/gemm.h"
#include "worker/training/float_buffer.h"
#include "worker/training/parallel.h"

namespace tritter {

// C [m, n] (+)= A B with A [m, k], B [k, n] as kernels/gemm.h describes them; rows of c are
// contiguous. A factor of every k and one of every n may be given (`k_scale` not within `a`).
struct MatrixProduct {
  int64_t m = 0, n = 0, k = 0;
  GemmOperand a, b;
  const float* k_scale = nullptr;
  const float* n_scale = nullptr;
  float* c = nullptr;
  bool accumulate = false;
};

// Owned by the trainer; one thread. `parallel` outlives it. The bits of a result do not depend on
// the number of threads with kBf16; with kFp32 they are LibTorch's.
class MatrixProducts {
 public:
  MatrixProducts(GemmType type, ParallelRows* parallel);
  void Run(const MatrixProduct& product);
  GemmType type() const { return type_; }

 private:
  void RunBf16(const MatrixProduct& product);
  void RunFp32(const MatrixProduct& product);

  const GemmType type_;
  ParallelRows* const parallel_;
  FloatBuffer scratch_;  // of every thread
};

}  // namespace tritter
