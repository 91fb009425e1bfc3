// The orthogonalisation of Muon (Jordan et al. 2024): five steps of a quintic Newton–Schulz
// iteration, X <- a X + (b A + c A²) X with A = X Xᵀ and (a, b, c) = (3.4445, -4.7750, 2.0315),
// which carries every singular value that is not tiny into about [0.68, 1.2]. LibTorch's products.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tritter {

// Of a matrix of floats on any device; `norm`: its Frobenius norm, a double without dimensions on
// the same device. A zero matrix stays zero.
at::Tensor OrthogonalOf(const at::Tensor& matrix, const at::Tensor& norm);

// In place, on the CPU; [rows, cols] row by row. On this thread alone: the optimiser gives its
// threads matrices of their own.
void NewtonSchulz(float* matrix, int64_t rows, int64_t cols);

}  // namespace tritter
