#include "worker/training/newton_schulz.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernels/training_ops.h"
#include "worker/training/matrix_products.h"

namespace tritter {

at::Tensor OrthogonalOf(const at::Tensor& matrix, const at::Tensor& norm) {
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
  constexpr int kSteps = 5;
  // A is of the smaller side.
  const bool tall = matrix.size(0) > matrix.size(1);
  at::Tensor x = (tall ? matrix.t() : matrix) * (1.0 / (norm + 1e-30)).to(at::kFloat);
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor a = at::mm(x, x.t());
    const at::Tensor b = at::addmm(a, a, a, kB, kC);
    x = at::addmm(x, b, x, kA, 1.0);
  }
  return tall ? x.t() : x;
}

void NewtonSchulz(float* matrix, int64_t rows, int64_t cols) {
  OneLibTorchThread();  // the matrices are divided over the threads
  at::Tensor whole = at::from_blob(matrix, {rows, cols});
  const double norm = std::sqrt(SumSquares(matrix, rows * cols));
  whole.copy_(OrthogonalOf(whole, at::scalar_tensor(norm, at::kDouble)));
}

}  // namespace tritter
