#include "worker/training/loss.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "common/status_macros.h"
#include "kernels/training_ops.h"

namespace tritter {
namespace {

// Logits of one chunk hold at most this many floats (16 MiB); a chunk has at least 64 tokens.
constexpr int64_t kChunkFloats = int64_t{4} << 20;

class NextToken : public HiddenLoss {
 public:
  NextToken(const LayerContext& context, const ParameterSlot& head, double z_loss)
      : context_(context),
        head_(head),
        z_loss_(z_loss),
        vocabulary_(head.spec.shape[0]),
        chunk_(std::max<int64_t>(64, kChunkFloats / vocabulary_)) {}

  LossResult Compute(const at::Tensor& hidden, absl::Span<const int64_t> targets,
                     absl::Span<const float> weights, float gradient_scale) override {
    const int64_t tokens = hidden.size(0), width = hidden.size(1);
    const at::Tensor head =
        at::from_blob(context_.parameters->weight() + head_.offset, {vocabulary_, width});
    at::Tensor dhead =
        at::from_blob(context_.sink->Begin(head_.offset, head_.size), {vocabulary_, width});
    LossResult result;
    result.hidden_gradient = at::empty(hidden.sizes());
    std::vector<double> losses(context_.parallel->parts(), 0.0);
    for (int64_t begin = 0; begin < tokens; begin += chunk_) {
      const int64_t count = std::min(chunk_, tokens - begin);
      const at::Tensor x = hidden.narrow(0, begin, count);
      at::Tensor logits = at::mm(x, head.t());
      float* rows = logits.mutable_data_ptr<float>();
      context_.parallel->Run(count, [&](int part, int64_t first, int64_t end) {
        losses[part] += SoftmaxCrossEntropyRows(
            rows + first * vocabulary_, targets.data() + begin + first,
            weights.data() + begin + first, gradient_scale, z_loss_, end - first, vocabulary_);
      });
      at::Tensor dx = result.hidden_gradient.narrow(0, begin, count);
      at::mm_out(dx, logits, head);
      if (begin == 0) {
        at::mm_out(dhead, logits.t(), x);
      } else {
        dhead.addmm_(logits.t(), x);
      }
    }
    for (double part : losses) result.loss += part;
    context_.sink->Commit(head_.offset, head_.size);
    return result;
  }

 private:
  LayerContext context_;
  ParameterSlot head_;
  double z_loss_;
  int64_t vocabulary_, chunk_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HiddenLoss>> NextTokenLoss(const LayerContext& context,
                                                          double z_loss) {
  ASSIGN_OR_RETURN(const ParameterSlot* head, context.parameters->Find("head.weight"));
  return std::unique_ptr<HiddenLoss>(new NextToken(context, *head, z_loss));
}

}  // namespace tritter
