// The orthogonalisation of Muon (Jordan et al. 2024): five steps of a quintic Newton–Schulz
// iteration, X <- a X + (b A + c A²) X with A = X Xᵀ and (a, b, c) = (3.4445, -4.7750, 2.0315),
// which carries every singular value that is not tiny into about [0.68, 1.2]. LibTorch's products.
#pragma once

#include <cstdint>

namespace tritter {

// In place; [rows, cols] row by row. A zero matrix stays zero. On this thread alone: the
// optimiser gives its threads matrices of their own.
void NewtonSchulz(float* matrix, int64_t rows, int64_t cols);

}  // namespace tritter
