// The float arithmetic of the network's forward pass, one fixed order of operations per row: results do not depend on
// batch, chunk or thread count, nor on the ISA. Training evaluation and serving call the same functions, so that both
// give the same bits. Rows are contiguous float.
#pragma once

#include <cstdint>

namespace tritter {

// y = x * (1 / sqrt(mean(x^2) + eps)) * w, per row. x, y [rows, n]; w [n]. In place allowed.
void RmsNormRows(const float* x, const float* w, float eps, int64_t rows, int64_t n, float* y);
// RMSNorm followed by int8 quantisation of each row: x8 [rows, x8_stride] (padding zeroed), inv [rows].
void RmsNormQuantiseRows(const float* x, const float* w, float eps, int64_t rows, int64_t n, int8_t* x8, int64_t x8_stride,
                         float* inv);
// cos/sin tables for RoPE, half-split pairing: angle(p, i) = p * theta^(-2i/d), in double, rounded to float.
// cos, sin [positions, d/2].
void RopeTable(double theta, int64_t d, int64_t first_position, int64_t positions, float* cos, float* sin);
// Rotates one head vector x [d] in place: x1' = x1*c - x2*s, x2' = x2*c + x1*s with x1 the first half.
void RopeInPlace(float* x, const float* cos, const float* sin, int64_t d);
// h = relu(gate)^2 * up, n elements.
void Relu2Mul(const float* gate, const float* up, int64_t n, float* h);
// Attention of one query head over `positions` keys of one KV head: softmax(q.k / sqrt(d)) v, numerically stable, one
// fixed order over positions. Key p is k + p * kv_stride (likewise v). `scratch` [positions].
void AttendRow(const float* q, const float* k, const float* v, int64_t kv_stride, int64_t positions, int64_t d, float* scratch,
               float* out);
// dot of two rows, one fixed order (16 lanes folded in halves).
float DotRow(const float* a, const float* b, int64_t n);
// log(sum(exp(x))) and the like are left to the callers' sampling code.

}  // namespace tritter
