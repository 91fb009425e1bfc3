// The products of a network in which an operand is no integer code: in FP32 through LibTorch, in
// BF16 (operands rounded, sums in FP32) through kernels/gemm.h.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/gemm.h"
#include "worker/training/float_buffer.h"
#include "worker/training/parallel.h"

namespace tritter {

// C [m, n] (+)= A B with A [m, k], B [k, n] as kernels/gemm.h describes them. A factor of every k
// and one of every n may be given (`k_scale` not within `a`).
struct MatrixProduct {
  int64_t m = 0, n = 0, k = 0;
  GemmOperand a, b;
  const float* k_scale = nullptr;
  const float* n_scale = nullptr;
  float* c = nullptr;
  int64_t c_stride = 0;  // 0: n
  bool accumulate = false;
};

// LibTorch's calls on this thread use no other threads from now on.
void OneLibTorchThread();

// Owned by the trainer; one thread. `parallel` outlives it. The bits of a result do not depend on
// the number of threads with kBf16; with kFp32 they may.
class MatrixProducts {
 public:
  MatrixProducts(GemmType type, ParallelRows* parallel);
  void Run(const MatrixProduct& product);
  // In FP32 whatever the type is: integers as floats.
  void RunExact(const MatrixProduct& product) { RunFp32(WithStride(product)); }
  GemmType type() const { return type_; }

 private:
  // multiply(part, share) for every thread's share of the result, cut at multiples of the units.
  void Divide(const MatrixProduct& product, int64_t row_unit, int64_t column_unit,
              const std::function<void(int part, const MatrixProduct&)>& multiply);
  void RunBf16(const MatrixProduct& product);
  void RunFp32(const MatrixProduct& product);
  static MatrixProduct WithStride(MatrixProduct product) {
    if (product.c_stride == 0) product.c_stride = product.n;
    return product;
  }

  const GemmType type_;
  ParallelRows* const parallel_;
  FloatBuffer scratch_;  // kBf16: of every thread; kFp32: B as numbers
};

}  // namespace tritter
