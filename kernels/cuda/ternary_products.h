// Exact products of packed ternary weights with int8 activations on a GPU, and what is made of
// them. Raw device pointers; every call only starts work on `stream`.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"

namespace tritter::cuda {

struct TernaryWeights {
  const uint32_t* words;  // kernels/cuda/ternary_layout.h
  const float* scales;    // one a row, of padded rows too
  int rows, cols;
};

// Rows of int8 activations, `stride` (a multiple of 128) bytes apart, 0 beyond their width.
struct QuantisedRows {
  const int8_t* codes;
  const int32_t* sums;  // of each row's codes
  const float* inv;
  int stride, count;
};

// With y = (float(sum) · scale[r]) · inv[t] (docs/numerics.md):
enum class Epilogue {
  kStore,  // out[t, r] = y
  kAdd,    // out[t, r] += y
  // Of rows that GpuTernaryBuilder::AddHalf has placed:
  kGated,      // out[t, i] = relu(gate)² · up
  kSiluGated,  // out[t, i] = gate / (1 + exp(−gate)) · up
  kSums,       // out[t, r] = sum, as int32
};
struct ProductOutput {
  void* data;  // float, or int32
  int stride;  // elements
  Epilogue epilogue;
};

// Reads every weight once: for few rows (at most kVectorRows at a time), by dp4a.
inline constexpr int kVectorRows = 8;
void VectorProduct(const TernaryWeights& w, const QuantisedRows& x, const ProductOutput& out,
                   cudaStream_t stream);
// For many rows, by the tensor cores.
void MatrixProduct(const TernaryWeights& w, const QuantisedRows& x, const ProductOutput& out,
                   cudaStream_t stream);
// The one of them that is meant for x.count rows. Both give the same bits.
void TernaryProduct(const TernaryWeights& w, const QuantisedRows& x, const ProductOutput& out,
                    cudaStream_t stream);

}  // namespace tritter::cuda
