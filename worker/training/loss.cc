#include "worker/training/loss.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "kernels/training_ops.h"

namespace tritter {
namespace {

// Goes over chunks of tokens; how logits are made and where their gradient goes is the head's.
class NextToken : public HiddenLoss {
 public:
  NextToken(const LayerContext& context, const NextTokenOptions& options)
      : context_(context),
        z_loss_(options.z_loss),
        vocabulary_(context.config->vocab),
        chunk_(std::max(options.least_chunk_tokens, options.chunk_floats / vocabulary_)) {}

  LossResult Compute(const at::Tensor& hidden, absl::Span<const int64_t> targets,
                     absl::Span<const float> weights, float gradient_scale) override {
    const int64_t tokens = hidden.size(0);
    LossResult result;
    result.hidden_gradient = at::empty(hidden.sizes());
    std::vector<double> losses(context_.parallel->parts(), 0.0);
    Begin();
    for (int64_t begin = 0; begin < tokens; begin += chunk_) {
      const int64_t count = std::min(chunk_, tokens - begin);
      const at::Tensor logits = Logits(hidden.narrow(0, begin, count));
      float* rows = logits.mutable_data_ptr<float>();
      context_.parallel->Run(count, [&](int part, int64_t first, int64_t end) {
        losses[part] += SoftmaxCrossEntropyRows(
            rows + first * vocabulary_, targets.data() + begin + first,
            weights.data() + begin + first, gradient_scale, z_loss_, end - first, vocabulary_);
      });
      Backward(logits, begin == 0, result.hidden_gradient.narrow(0, begin, count));
    }
    for (double part : losses) result.loss += part;
    End();
    return result;
  }

 protected:
  // Memory for the head's gradient, before the first chunk.
  virtual void Begin() = 0;
  // x [tokens, H] -> [tokens, V], overwritten by the gradient.
  virtual at::Tensor Logits(const at::Tensor& x) = 0;
  // Of the chunk of the last Logits: adds to the head's gradient and writes dx [tokens, H].
  virtual void Backward(const at::Tensor& dlogits, bool first, at::Tensor dx) = 0;
  virtual void End() = 0;

  LayerContext context_;

 private:
  double z_loss_;
  int64_t vocabulary_, chunk_;
};

// A head in full precision: a matrix of its own, or the embedding.
class FullHead : public NextToken {
 public:
  FullHead(const LayerContext& context, const ParameterSlot& head, const NextTokenOptions& options)
      : NextToken(context, options), head_(head) {}

 private:
  void Begin() override { gradient_ = context_.sink->BeginSum(head_.offset, head_.size); }
  at::Tensor Logits(const at::Tensor& x) override {
    x_ = x;
    at::Tensor logits = at::empty({x.size(0), vocabulary()});
    MatrixProduct product{x.size(0),
                          vocabulary(),
                          width(),
                          {x.data_ptr<float>(), nullptr, width()},
                          {weight(), nullptr, width(), /*transposed=*/true}};
    product.c = logits.mutable_data_ptr<float>();
    context_.products->Run(product);
    return logits;
  }
  void Backward(const at::Tensor& dlogits, bool first, at::Tensor dx) override {
    const int64_t tokens = dlogits.size(0);
    const float* const d = dlogits.data_ptr<float>();
    MatrixProduct product{
        tokens, width(), vocabulary(), {d, nullptr, vocabulary()}, {weight(), nullptr, width()}};
    product.c = dx.mutable_data_ptr<float>();
    context_.products->Run(product);
    MatrixProduct dw{vocabulary(),
                     width(),
                     tokens,
                     {d, nullptr, vocabulary(), /*transposed=*/true},
                     {x_.data_ptr<float>(), nullptr, width()}};
    dw.c = gradient_;
    dw.accumulate = !first;
    context_.products->Run(dw);
  }
  // The rows of a tied embedding come later.
  void End() override {
    if (!context_.config->tied_embeddings) context_.sink->EndSum();
  }
  const float* weight() const { return context_.parameters->weight() + head_.offset; }
  int64_t vocabulary() const { return head_.spec.shape[0]; }
  int64_t width() const { return head_.spec.shape[1]; }

  ParameterSlot head_;
  float* gradient_ = nullptr;
  at::Tensor x_;
};

// A head that is a linear layer of the blocks' kind.
class TernaryHead : public NextToken {
 public:
  // `slot`: every parameter of `head`, one range.
  TernaryHead(const LayerContext& context, const ParameterSlot& slot, std::unique_ptr<Linear> head,
              const NextTokenOptions& options)
      : NextToken(context, options), slot_(slot), head_(std::move(head)) {}

 private:
  void Begin() override {
    float* sum = context_.sink->BeginSum(slot_.offset, slot_.size);
    std::fill(sum, sum + slot_.size, 0.0f);
  }
  at::Tensor Logits(const at::Tensor& x) override {
    x_ = x.detach().requires_grad_(true);
    y_ = head_->Forward(x_);
    return y_.detach();
  }
  void Backward(const at::Tensor& dlogits, bool, at::Tensor dx) override {
    y_.backward(dlogits);
    dx.copy_(x_.grad());
    x_.reset();
    y_.reset();
  }
  void End() override { context_.sink->EndSum(); }

  ParameterSlot slot_;
  std::unique_ptr<Linear> head_;
  at::Tensor x_, y_;  // of the chunk at work
};

}  // namespace

absl::StatusOr<std::unique_ptr<HiddenLoss>> NextTokenLoss(const LayerContext& context,
                                                          const LinearFactory& linears,
                                                          const NextTokenOptions& options) {
  const ModelConfig& config = *context.config;
  if (config.lm_head_ternary) {
    std::vector<std::string> names = {"head.weight"};
    ASSIGN_OR_RETURN(std::unique_ptr<Linear> head, linears({names}));
    if (config.weight_rule == WeightRule::kThreshold) names.push_back("head.scale");
    ASSIGN_OR_RETURN(const ParameterSlot slot, context.parameters->FindAdjacent(names));
    return std::unique_ptr<HiddenLoss>(new TernaryHead(context, slot, std::move(head), options));
  }
  ASSIGN_OR_RETURN(
      const ParameterSlot* head,
      context.parameters->Find(config.tied_embeddings ? "embed.weight" : "head.weight"));
  return std::unique_ptr<HiddenLoss>(new FullHead(context, *head, options));
}

}  // namespace tritter
