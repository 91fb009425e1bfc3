// The network as the inference engine computes it: the kernels of kernels/float_ops.h and the
// packed ternary products, in the engine's order of operations, so that evaluation and served text
// agree bit for bit. What the engine does not serve (LayerNorm, biases, a ternary head, activations
// or weights that are not quantised) is computed by the same kernels in the order of
// docs/numerics.md. No gradient, no LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "worker/training/norm.h"
#include "worker/training/parallel.h"
#include "worker/training/parameter_store.h"

namespace tritter {

// Weights packed once from one flat array; valid until that changes. One thread at a time.
class ServingForward {
 public:
  // `weights`: the store's weight() or average(); read during construction (ternary) and every call
  // (the rest).
  ServingForward(const ModelConfig& config, const ParameterStore& parameters, const float* weights,
                 ParallelRows* parallel);
  ServingForward(ServingForward&&) = default;

  // Logits [tokens, V] of one sequence from position 0. Errors: InvalidArgument (a token outside
  // the vocabulary).
  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int64_t> tokens);

 private:
  // One matrix [out, in] in the form in which it is multiplied.
  struct Matrix {
    int64_t out = 0, in = 0;
    // Ternary codes for exact products with int8 activations, one scale a row.
    std::vector<uint8_t> tiles;
    std::vector<float> scales;
    // Otherwise the weights that a plain product takes: those of the store, or `effective`.
    const float* plain = nullptr;
    std::vector<float> effective;  // scale · code
    const float* bias = nullptr;   // [out]
  };
  struct Layer {
    NormSlot norm_in, q_norm, k_norm, attn_sub_norm, norm_post, ffn_sub_norm;
    Matrix q, k, v, o, gate, up, down;
  };
  // Rows that enter matrices, quantised once for all that read them.
  struct Input {
    const float* x = nullptr;
    std::vector<int8_t> x8;
    std::vector<float> inv;
  };

  const float* Values(const std::string& name) const;
  NormSlot FindNormOf(const std::string& name) const;
  // `name` without ".weight".
  Matrix MakeMatrix(const std::string& name) const;
  // In place; nothing where the family has no such norm.
  void Norm(const NormSlot& slot, int64_t rows, float* x) const;
  // x [tokens, n] becomes the input of the next Multiply calls, and must stay.
  void SetInput(const float* x, int64_t tokens, int64_t n);
  // y [tokens, out].
  void Multiply(const Matrix& w, int64_t tokens, float* y) const;
  void Attend(const Layer& layer, int64_t tokens, float* q, float* k, const float* v, float* out);
  void Block(const Layer& layer, int64_t tokens);

  const ModelConfig config_;
  const ParameterStore& parameters_;
  const float* const weights_;
  ParallelRows* const parallel_;
  const bool integer_products_;
  std::vector<Layer> layers_;
  NormSlot final_norm_;
  Matrix head_;
  Input input_;
  std::vector<float> x_, h_, q_, k_, v_, attended_, gate_, up_, f_;  // rows of the call at work
  std::vector<float> cos_, sin_;
  std::vector<uint8_t> pages_;
  int64_t rope_positions_ = 0;
  std::vector<int32_t> document_start_;  // of the call at work
};

}  // namespace tritter
