// The float arithmetic of the network's forward pass (docs/numerics.md), one fixed order of
// operations per row: results do not depend on batch, chunk or thread count, nor on the ISA.
// Training evaluation and serving call the same functions, so that both give the same bits. Rows
// are contiguous float; every function is single-threaded and thread-safe, callers split rows over
// threads.
//
// How the bits are kept equal: every reduction runs in 16 lanes (element i goes to lane i mod 16)
// that are folded in halves at the end, every operation is one IEEE single-precision operation
// (fused multiply-adds only where the source says so: attention), and exp is our own polynomial.
// The same source is compiled for the baseline, AVX2 and AVX-512 and chosen at run time.
#pragma once

#include <cstdint>
#include <vector>

namespace tritter {

// y = (x * (1 / sqrt(mean(x^2) + eps))) * w, per row. x, y [rows, n]; w [n]. In place allowed.
void RmsNormRows(const float* x, const float* w, float eps, int64_t rows, int64_t n, float* y);
// y = ((x - mean(x)) * (1 / sqrt(mean((x - mean(x))^2) + eps))) * w + b, per row. x, y [rows, n];
// w, b [n]. In place allowed.
void LayerNormRows(const float* x, const float* w, const float* b, float eps, int64_t rows,
                   int64_t n, float* y);
// RMSNorm followed by int8 quantisation of each row (bit-equal to RmsNormRows, then
// QuantiseActivationsInt8 of kernels/quantise.h): x8 [rows, x8_stride] (padding zeroed), inv
// [rows].
void RmsNormQuantiseRows(const float* x, const float* w, float eps, int64_t rows, int64_t n,
                         int8_t* x8, int64_t x8_stride, float* inv);
// The int8 quantiser alone, with padding zeroed, bit-equal to QuantiseActivationsInt8 row by row.
void QuantiseRows(const float* x, int64_t rows, int64_t n, int8_t* x8, int64_t x8_stride,
                  float* inv);
// y[r] = (float(acc[r]) * scales[r]) * inv: the epilogue DequantiseDot over one token's row. One
// scale for all rows when !per_row. n results.
void DequantiseRow(const int32_t* acc, const float* scales, bool per_row, float inv, int64_t n,
                   float* y);
// The epilogues of a ternary product over acc [tokens, acc_stride], `rows` results a token, each
// the bits of DequantiseRow and what follows it. scales: [rows], or [1] when !per_row; inv
// [tokens].
struct DequantiseTile {
  const int32_t* acc;
  int64_t acc_stride, tokens, rows;
  const float* scales;
  bool per_row;
  const float* inv;
};
// y [tokens, y_stride]: set, or added to.
void DequantiseInto(const DequantiseTile& tile, bool add, float* y, int64_t y_stride);
// h = relu(gate)^2 * up. h [tokens, h_stride].
void DequantiseGated(const DequantiseTile& gate, const DequantiseTile& up, float* h,
                     int64_t h_stride);
// h = gate / (1 + exp(-gate)) * up with the exp of ExpRow. h [tokens, h_stride].
void DequantiseSiluGated(const DequantiseTile& gate, const DequantiseTile& up, float* h,
                         int64_t h_stride);
// y += x, n elements.
void AddRow(const float* x, int64_t n, float* y);

// cos/sin tables for RoPE, half-split pairing: angle(p, i) = p * theta^(-2i/d), in double, rounded
// to float. cos, sin [positions, d/2].
void RopeTable(double theta, int64_t d, int64_t first_position, int64_t positions, float* cos,
               float* sin);
// Rotates one head vector x [d] in place: x1' = x1*c - x2*s, x2' = x2*c + x1*s with x1 the first
// half.
void RopeInPlace(float* x, const float* cos, const float* sin, int64_t d);

// h = relu(gate)^2 * up, n elements. h may be gate or up.
void Relu2Mul(const float* gate, const float* up, int64_t n, float* h);

// exp, at most 2 ulp from the true value on [-87.3, 88.7]; 0 below, clamped above; NaN gives NaN.
void ExpRow(const float* x, int64_t n, float* y);

// Attention of one query head over `positions` >= 1 keys of one KV head: softmax(q.k / sqrt(d)) v,
// numerically stable. Order: score_p = (sum over i in sequence of q_i * k_pi) * (1/sqrt(d));
// weights exp(score - max); their sum in 16 lanes; out_i = (sum over p in sequence of weight_p *
// v_pi) * (1/sum), both sums of products by fused multiply-adds. Key p is k + p * kv_stride
// (likewise v). `scratch` [positions rounded up to 16]. out [d], not q.
void AttendRow(const float* q, const float* k, const float* v, int64_t kv_stride, int64_t positions,
               int64_t d, float* scratch, float* out);

// dot of two rows: 16 lanes folded in halves.
float DotRow(const float* a, const float* b, int64_t n);
// y[t, r] = DotRow(w + r * n, x + t * x_stride, n): the output head. w [rows, n]; x [tokens, ≥ n];
// y [tokens, y_stride].
void DotRows(const float* w, int64_t rows, const float* x, int64_t x_stride, int64_t tokens,
             int64_t n, float* y, int64_t y_stride);

// The functions above for one instruction set; those above call the best one this CPU runs.
struct FloatOps {
  const char* name;  // "baseline", "avx2", "avx512"
  decltype(&tritter::RmsNormRows) rms_norm_rows;
  decltype(&tritter::LayerNormRows) layer_norm_rows;
  decltype(&tritter::RmsNormQuantiseRows) rms_norm_quantise_rows;
  decltype(&tritter::QuantiseRows) quantise_rows;
  decltype(&tritter::DequantiseRow) dequantise_row;
  decltype(&tritter::DequantiseInto) dequantise_into;
  decltype(&tritter::DequantiseGated) dequantise_gated;
  decltype(&tritter::DequantiseSiluGated) dequantise_silu_gated;
  decltype(&tritter::AddRow) add_row;
  decltype(&tritter::RopeInPlace) rope_in_place;
  decltype(&tritter::Relu2Mul) relu2_mul;
  decltype(&tritter::ExpRow) exp_row;
  decltype(&tritter::AttendRow) attend_row;
  decltype(&tritter::DotRow) dot_row;
  decltype(&tritter::DotRows) dot_rows;
};
// Those that this CPU can run, slowest first. For tests (all must agree bit for bit) and logs.
std::vector<const FloatOps*> SupportedFloatOps();

}  // namespace tritter
