// The network of both families for training: embeddings in, hidden vectors out (docs/numerics.md).
// The head is the loss's (worker/training/loss.h). LibTorch.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/training/attention_ops.h"
#include "worker/training/bit_linear.h"
#include "worker/training/linear.h"
#include "worker/training/qat_ops.h"

namespace tritter {

// One layer of the network; attention with a gated FFN here, others (state-space, recurrent) beside
// it.
class Block {
 public:
  virtual ~Block() = default;
  // x [T, H] -> [T, H]. `rope` and this block live until the backward pass is over.
  virtual at::Tensor Forward(const at::Tensor& x, SequenceShape shape, const RopeTables& rope) = 0;
};

// Owned by the trainer; one thread. The context's objects outlive it.
class Network {
 public:
  // Needs the parameters' table alone: their arrays may be absent until the first Embed. Errors:
  // NotFound, those of `linears`.
  static absl::StatusOr<std::unique_ptr<Network>> Create(const LayerContext& context,
                                                         const LinearFactory& linears);

  // Rows of the embedding, [T, H], a leaf that collects its gradient. tokens [T].
  at::Tensor Embed(const std::vector<int64_t>& tokens) const;
  // After the final norm: [T, H]. Positions of every sequence start at `first_position`.
  // `look` sees the output of every part as it is made: "layers.0", …, "norm".
  using Look = std::function<void(absl::string_view name, const at::Tensor& x)>;
  at::Tensor Forward(const at::Tensor& embedded, SequenceShape shape, int64_t first_position = 0,
                     const Look& look = nullptr);
  // Adds the rows of the embedding's gradient up, in token order, into the sink: beside the loss's
  // part where the head is the embedding.
  void CommitEmbeddingGradient(const at::Tensor& gradient,
                               const std::vector<int64_t>& tokens) const;

 private:
  // Blocks [first, end) on one input.
  struct SegmentCall {
    Network* network;
    size_t first, end;
    SequenceShape shape;
  };
  struct RecomputedSegment;
  at::Tensor RunSegment(const at::Tensor& x, const SegmentCall& call);

  explicit Network(const LayerContext& context) : context_(context) {}

  LayerContext context_;
  ParameterSlot embedding_;
  NormSlot final_norm_;
  std::vector<std::unique_ptr<Block>> blocks_;
  RopeTables rope_;
  int64_t rope_first_ = 0, rope_length_ = 0;
};

}  // namespace tritter
