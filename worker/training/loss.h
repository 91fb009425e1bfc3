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

// Cross-entropy of the next token through the head of the configuration (the embedding where tied;
// a linear layer of `linears` where ternary), in chunks of tokens: never [T, V] at once. Optional
// z-loss z · (log Z)^2 per token. With tied embeddings the sum of the embedding's gradient stays
// open for Network::CommitEmbeddingGradient. Errors: NotFound (the head), those of `linears`.
absl::StatusOr<std::unique_ptr<HiddenLoss>> NextTokenLoss(const LayerContext& context,
                                                          const LinearFactory& linears,
                                                          double z_loss);

}  // namespace tritter
