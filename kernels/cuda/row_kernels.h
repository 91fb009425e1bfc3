// What happens to rows of activations between the products of a forward pass, on a GPU: embedding,
// norms, quantisation, output head. The bits are those of kernels/float_ops.h and
// kernels/row_quantised.h. Raw device pointers; every call only starts work on `stream`.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/row_layout.h"

namespace tritter::cuda {

// Matrix of embedding or head.
struct RowTable {
  RowType type;
  const uint8_t* data;
  const float* scales;  // of INT8 and INT4, one a row
  int64_t pitch;
  int rows, cols;
};

// x[t] [cols] = row tokens[t] of the table.
void EmbedRows(const RowTable& table, const int32_t* tokens, int count, float* x,
               cudaStream_t stream);

// Each row of x [count, n], in this order: x = RMSNorm(x) · first where `first` is not null;
// v = RMSNorm(x) · norm, or x where that is null; codes [count, stride], zeros from n on, their
// sums and inverse factors of v.
struct Quantisation {
  const float *first, *norm;
  float eps;
  int8_t* codes;
  int32_t* sums;
  float* inv;
  int stride;
};
void NormQuantiseRows(float* x, int count, int n, const Quantisation& q, cudaStream_t stream);

// Rows of final hidden states: RMSNorm(x[from[i]]) · norm (x normed by `first` before it, as
// above), [count, pitch] with zeros from n on. `hi` not null: split into digits too
// (SplitActivations), [count, digits] each, with the sums of the digits.
struct FinalRows {
  const int32_t* from;
  const float *first, *norm;
  float eps;
  float* final_x;
  int pitch;
  int8_t *hi, *lo;
  float* inv;
  int2* digit_sums;  // of hi, of lo
  int digits;
};
void NormFinalRows(const float* x, int count, int n, const FinalRows& out, cudaStream_t stream);

// logits [count, rows] of final rows: dot products as DotRows forms them (F32, BF16), or of digits
// as MultiplyQuantisedRows (INT8, INT4).
void HeadRows(const RowTable& head, const FinalRows& x, int first, int count, float* logits,
              cudaStream_t stream);

}  // namespace tritter::cuda
