// What a run minimises. A loss gets hidden vectors and owns what stands behind them (here the
// output head), so that other objectives attach without touching the network. LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/training/bit_linear.h"

namespace tritter {

struct LossResult {
  double loss = 0;             // Σ w ℓ over the tokens given, nats (not yet divided by Σ w)
  at::Tensor hidden_gradient;  // [T, H], of Σ w ℓ · gradient_scale
};

class HiddenLoss {
 public:
  virtual ~HiddenLoss() = default;
  // hidden [T, H]; targets [T] (-1: none); weights [T]. Gradients of the loss's own parameters go
  // to its sink.
  virtual LossResult Compute(const at::Tensor& hidden, absl::Span<const int64_t> targets,
                             absl::Span<const float> weights, float gradient_scale) = 0;
};

struct NextTokenOptions {
  double z_loss = 0;  // z in z · (log Z)^2 per token
  // Logits of one chunk hold at most so many floats (16 MiB), but of so many tokens at least.
  int64_t chunk_floats = int64_t{4} << 20, least_chunk_tokens = 64;
};

// Cross-entropy of the next token through the head of the configuration (the embedding where tied;
// a linear layer of `linears` where ternary), in chunks of tokens: never [T, V] at once. With tied
// embeddings the sum of the embedding's gradient stays open for Network::CommitEmbeddingGradient.
// Errors: NotFound (the head), those of `linears`.
absl::StatusOr<std::unique_ptr<HiddenLoss>> NextTokenLoss(const LayerContext& context,
                                                          const LinearFactory& linears,
                                                          const NextTokenOptions& options = {});

}  // namespace tritter
