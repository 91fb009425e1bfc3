// Fused forward/backward kernels of quantisation-aware training on a CPU, each checked against a
// plain formula in double (training_ops_test.cc). Single-threaded over the rows given; callers
// split rows over threads. Results depend on the instruction set (fused multiply-add is used where
// there is one): bit-reproducible per kind of machine. The quantisers alone give the bits of
// kernels/quantise.h everywhere.
#pragma once

#include <cstdint>
#include <vector>

namespace tritter {

// Backward of y = rmsnorm(x) * w. dx [rows, n] is written; dw [n] is accumulated (+=). dx may be
// dy.
void RmsNormBackwardRows(const float* x, const float* w, const float* dy, float eps, int64_t rows,
                         int64_t n, float* dx, float* dw);
// Backward of LayerNormRows. dx [rows, n] is written; dw, db [n] are accumulated (+=). dx may be
// dy.
void LayerNormBackwardRows(const float* x, const float* w, const float* dy, float eps, int64_t rows,
                           int64_t n, float* dx, float* dw, float* db);
// Ternary codes, bit-equal to QuantiseWeights of kernels/quantise.h. w, q [rows, cols]; scales
// [rows] or [1].
void QuantiseWeightRows(const float* w, int64_t rows, int64_t cols, bool per_row, int8_t* q,
                        float* scales);
// The older rule: q = sign(w) where |w| > mean|w| of the row (or of all rows when !per_row), else
// 0.
void QuantiseByThreshold(const float* w, int64_t rows, int64_t cols, bool per_row, int8_t* q);
// sums[r] = sum over c of codes[r, c] * x[r, c].
void DotCodeRows(const int8_t* codes, const float* x, int64_t rows, int64_t cols, float* sums);
// y[t, c] = codes[t, c] * inv[t] as float: the dequantised activations (inv per row), or the
// effective weight (inv = scales). One value for all rows when !per_row.
void DequantiseCodes(const int8_t* codes, const float* inv, bool per_row, int64_t rows, int64_t n,
                     float* y);
// y[t, r] = (float(acc[t, r]) * scale[r or 0]) * inv[t]. acc, y [tokens, rows]. Bit-equal to
// DequantiseDot.
void ApplyScalesRows(const int32_t* acc, const float* scales, bool per_row, const float* inv,
                     int64_t tokens, int64_t rows, float* y);
// The same from sums held as floats; in place allowed.
void ApplyScalesFloatRows(const float* acc, const float* scales, bool per_row, const float* inv,
                          int64_t tokens, int64_t rows, float* y);
// Backward of Relu2Mul: dgate = dh * up * 2 relu(gate), dup = dh * relu(gate)^2.
void Relu2MulBackward(const float* gate, const float* up, const float* dh, int64_t n, float* dgate,
                      float* dup);
// Softmax cross-entropy, fused: returns sum_t weight[t] * (lse(logits[t]) - logits[t, target[t]] +
// z_loss * lse^2) in double, and logits[t, :] is overwritten by d loss / d logits * grad_scale.
// Targets < 0 are ignored (gradient 0).
double SoftmaxCrossEntropyRows(float* logits, const int64_t* targets, const float* weights,
                               float grad_scale, double z_loss, int64_t tokens, int64_t vocabulary);

// Sum of squares in double, 16 lanes folded in halves.
double SumSquares(const float* x, int64_t n);

// One AdamW step (Loshchilov and Hutter 2019, arXiv:1711.05101) with the running average of the
// weights:
//   g = gradient * gradient_scale; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
//   w -= learning_rate * weight_decay * w; w -= learning_rate * (m / correction1) / (sqrt(v /
//   correction2) + epsilon); average += (1 - average_decay) * (w - average)
struct AdamWStep {
  float gradient_scale, beta1, beta2, correction1, correction2, epsilon, learning_rate,
      weight_decay, average_decay;
};
void AdamWRows(const AdamWStep& step, const float* gradient, int64_t n, float* w, float* m,
               float* v, float* average);

// The functions above for one instruction set; those above call the best one this CPU runs.
struct TrainingOps {
  const char* name;  // "baseline", "avx2", "avx512"
  decltype(&tritter::RmsNormBackwardRows) rms_norm_backward_rows;
  decltype(&tritter::LayerNormBackwardRows) layer_norm_backward_rows;
  decltype(&tritter::QuantiseWeightRows) quantise_weight_rows;
  decltype(&tritter::QuantiseByThreshold) quantise_by_threshold;
  decltype(&tritter::DotCodeRows) dot_code_rows;
  decltype(&tritter::DequantiseCodes) dequantise_codes;
  decltype(&tritter::ApplyScalesRows) apply_scales_rows;
  decltype(&tritter::ApplyScalesFloatRows) apply_scales_float_rows;
  decltype(&tritter::Relu2MulBackward) relu2_mul_backward;
  decltype(&tritter::SoftmaxCrossEntropyRows) softmax_cross_entropy_rows;
  decltype(&tritter::SumSquares) sum_squares;
  decltype(&tritter::AdamWRows) adamw_rows;
};
// Those that this CPU can run, slowest first. For tests and logs.
std::vector<const TrainingOps*> SupportedTrainingOps();

}  // namespace tritter
