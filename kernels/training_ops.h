// Fused forward/backward kernels of quantisation-aware training on a CPU; each is checked against LibTorch's plain
// formula in worker/ tests. Single-threaded over the rows given; callers split rows over threads.
#pragma once

#include <cstdint>

namespace tritter {

// Backward of y = rmsnorm(x) * w. dx [rows, n] is written; dw [n] is accumulated (+=).
void RmsNormBackwardRows(const float* x, const float* w, const float* dy, float eps, int64_t rows, int64_t n, float* dx, float* dw);
// Integer-valued floats for a float GEMM: xq = round(clamp(x*a)) as float [rows, n], inv [rows].
void QuantiseActivationsToFloat(const float* x, int64_t rows, int64_t n, float* xq, float* inv);
// Ternary codes as floats: qf [rows, cols] in {-1, 0, 1}, scales as QuantiseWeights.
void QuantiseWeightsToFloat(const float* w, int64_t rows, int64_t cols, bool per_row, float* qf, float* scales);
// y[t, r] = (acc[t, r] * scale[r or 0]) * inv[t], in place allowed.
void ApplyScalesRows(const float* acc, const float* scales, bool per_row, const float* inv, int64_t tokens, int64_t rows, float* y);
// Backward of Relu2Mul: dgate = dh * up * 2 relu(gate), dup = dh * relu(gate)^2.
void Relu2MulBackward(const float* gate, const float* up, const float* dh, int64_t n, float* dgate, float* dup);
// Softmax cross-entropy, fused: loss_sum += sum_t weight[t] * (lse(logits[t]) - logits[t, target[t]]) in double, and
// logits[t, :] is overwritten by d loss / d logits * grad_scale. targets < 0 are ignored. Optional z-loss coefficient.
double SoftmaxCrossEntropyRows(float* logits, const int64_t* targets, const float* weights, float grad_scale, double z_loss,
                               int64_t tokens, int64_t vocabulary);

}  // namespace tritter
