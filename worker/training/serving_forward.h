// The network as the inference engine computes it: the kernels of kernels/float_ops.h and the
// packed ternary products, in the engine's order of operations, so that evaluation and served text
// agree bit for bit. No gradient, no LibTorch.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
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

  // Logits [tokens, V] of one sequence from position 0. Errors: InvalidArgument (a token outside
  // the vocabulary).
  absl::StatusOr<std::vector<float>> Logits(absl::Span<const int64_t> tokens);

 private:
  struct Packed {
    int64_t out = 0, in = 0;
    std::vector<uint8_t> tiles;
    std::vector<float> scales;  // [out]
  };
  struct Layer {
    const float *norm_in, *q_norm, *k_norm, *norm_post;
    Packed q, k, v, o, gate, up, down;
  };
  const float* Values(const std::string& name) const;
  Packed Pack(const std::string& name) const;
  // y [tokens, out] from quantised rows.
  void Multiply(const Packed& w, const std::vector<int8_t>& x8, const std::vector<float>& inv,
                int64_t tokens, float* y);
  void Quantise(const float* x, int64_t tokens, int64_t n, std::vector<int8_t>* x8,
                std::vector<float>* inv);
  void Attend(const Layer& layer, int64_t tokens, float* q, float* k, const float* v, float* out);

  const ModelConfig config_;
  const ParameterStore& parameters_;
  const float* const weights_;
  ParallelRows* const parallel_;
  std::vector<Layer> layers_;
  std::vector<float> cos_, sin_, pages_;
  int64_t rope_positions_ = 0;
};

}  // namespace tritter
