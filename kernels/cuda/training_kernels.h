// CUDA kernels of a training step. Raw device pointers, rows contiguous; every call only starts
// work on `stream`. Results do not depend on timing: sums are formed in a fixed order, without
// atomic additions. The formulas are those of worker/training/formula/tensor_kernels.h, which they
// are tested against.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/training_ops.h"

namespace tritter::cuda {

enum class Type { kFloat, kBf16 };

// Activations of type `type`: a device pointer that does not say so itself.
struct Values {
  void* data;
  Type type;
};

// Blocks that the kernels with a `partial` output run: each writes one row of it.
int PartialRows(int64_t rows);

// x [rows, n] -> int8 codes and factors (largest magnitude / 127), after an RMSNorm with weight
// `norm` [n] where that is not null.
void QuantiseRows(Values x, const float* norm, float eps, int64_t rows, int64_t n, int8_t* codes,
                  float* factor, cudaStream_t stream);
// mean|w| of every row.
void MeanMagnitudeRows(const float* w, int64_t rows, int64_t n, float* mean, cudaStream_t stream);
// threshold: sign(w) where |w| > mean, else 0; otherwise clamp(round(w / mean), -1, 1).
void TernaryRows(const float* w, const float* mean, bool threshold, int64_t rows, int64_t n,
                 int8_t* codes, cudaStream_t stream);
// y = (sum · column[c]) · row[r]; sums int32, or float where `float_sums`.
void ScaleProduct(const void* sums, bool float_sums, const float* column, const float* row,
                  int64_t rows, int64_t n, Values y, cudaStream_t stream);
// y = code · factor[row].
void DequantiseRows(const int8_t* codes, const float* factor, int64_t rows, int64_t n, Values y,
                    cudaStream_t stream);

void RmsNormRows(Values x, const float* weight, float eps, int64_t rows, int64_t n, Values y,
                 cudaStream_t stream);
// partial [PartialRows(rows), n]: its sum over rows is the gradient of the weight.
void RmsNormBackwardRows(Values x, const float* weight, float eps, Values dy, int64_t rows,
                         int64_t n, Values dx, float* partial, cudaStream_t stream);

// Heads of q and k, normed (weights [D], null: not) and rotated; at most 256 wide.
struct HeadRows {
  int64_t tokens, heads, kv_heads, dim, length;  // row t stands at position t mod length
  const float *q_norm, *k_norm, *cos, *sin;      // cos, sin [length, D/2]
  float eps;
};
// qkv [T, (N + 2K)·D] -> [T, (N + K)·D].
void PlaceHeads(const HeadRows& shape, Values qkv, Values placed, cudaStream_t stream);
// dqkv [T, (N + 2K)·D]: its part of q and k. partial [PlacePartialRows(shape), 2, D] is written
// where there are norms.
int PlacePartialRows(const HeadRows& shape);
void PlaceHeadsBackward(const HeadRows& shape, Values qkv, Values dplaced, Values dqkv,
                        float* partial, cudaStream_t stream);

// gate_up [rows, 2n] -> relu(gate)² · up [rows, n], and its gradient.
void GateRows(Values gate_up, int64_t rows, int64_t n, Values y, cudaStream_t stream);
void GateBackwardRows(Values gate_up, Values dy, int64_t rows, int64_t n, Values dgate_up,
                      cudaStream_t stream);

// loss[t] = w (ℓ + z (log Z)²) and its gradient · scale; targets < 0 give zero.
void CrossEntropyRows(const float* logits, const int64_t* targets, const float* weights,
                      float scale, double z_loss, int64_t rows, int64_t vocabulary, double* loss,
                      Values gradient, cudaStream_t stream);

void AdamW(const AdamWStep& step, const float* gradient, int64_t n, float* w, float* m, float* v,
           float* average, cudaStream_t stream);

}  // namespace tritter::cuda
