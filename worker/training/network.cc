#include "worker/training/network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/float_ops.h"

namespace tritter {
namespace {

class AttentionBlock : public Block {
 public:
  static absl::StatusOr<std::unique_ptr<Block>> Create(const LayerContext& context,
                                                       const LinearFactory& linears,
                                                       int64_t layer) {
    auto block = std::unique_ptr<AttentionBlock>(new AttentionBlock(context));
    const std::string prefix = absl::StrCat("layers.", layer, ".");
    const auto find = [&](const char* name) {
      return context.parameters->Find(absl::StrCat(prefix, name, ".weight"));
    };
    const auto make = [&](const std::vector<const char*>& names) {
      LinearRequest request;
      for (const char* name : names) request.names.push_back(absl::StrCat(prefix, name, ".weight"));
      return linears(request);
    };
    ASSIGN_OR_RETURN(const ParameterSlot* norm_in, find("norm_in"));
    ASSIGN_OR_RETURN(const ParameterSlot* q_norm, find("attn.q_norm"));
    ASSIGN_OR_RETURN(const ParameterSlot* k_norm, find("attn.k_norm"));
    ASSIGN_OR_RETURN(const ParameterSlot* norm_post, find("norm_post"));
    block->norm_in_ = *norm_in;
    block->norm_post_ = *norm_post;
    block->attention_ = {*q_norm, *k_norm};
    ASSIGN_OR_RETURN(block->qkv_, make({"attn.q", "attn.k", "attn.v"}));
    ASSIGN_OR_RETURN(block->o_, make({"attn.o"}));
    ASSIGN_OR_RETURN(block->gate_up_, make({"ffn.gate", "ffn.up"}));
    ASSIGN_OR_RETURN(block->down_, make({"ffn.down"}));
    return std::unique_ptr<Block>(std::move(block));
  }

  at::Tensor Forward(const at::Tensor& x, SequenceShape shape, const RopeTables& rope) override {
    const at::Tensor qkv = qkv_->Forward(AddRmsNorm(context_, norm_in_, x, {}));
    const at::Tensor h = x + o_->Forward(CausalAttention(context_, attention_, rope, shape, qkv));
    const at::Tensor f = down_->Forward(GatedRelu2(context_, gate_up_->Forward(h)));
    return AddRmsNorm(context_, norm_post_, h, f);
  }

 private:
  explicit AttentionBlock(const LayerContext& context) : context_(context) {}

  LayerContext context_;
  ParameterSlot norm_in_, norm_post_;
  AttentionSlots attention_;
  std::unique_ptr<Linear> qkv_, o_, gate_up_, down_;
};

}  // namespace

absl::Status CheckSupported(const ModelConfig& config) {
  const auto refuse = [](absl::string_view what, absl::string_view instead) {
    return absl::UnimplementedError(
        absl::StrCat(what, " is not trained by this version; use ", instead));
  };
  if (config.family != Family::kTritter) return refuse("model.family bitnet", "tritter");
  if (config.norm != NormKind::kRmsNorm) return refuse("model.norm layernorm", "rmsnorm");
  if (config.tied_embeddings) return refuse("model.tied_embeddings", "untied embeddings");
  if (config.bias) return refuse("model.bias", "projections without bias");
  if (config.lm_head_ternary) return refuse("model.lm_head ternary", "full");
  if (config.attention != AttentionMode::kCausal)
    return refuse("this model.attention mode", "causal");
  if (config.weight_rule != WeightRule::kAbsMean)
    return refuse("model.weight_rule threshold", "absmean");
  if (config.activations != ActivationRule::kInt8) return refuse("model.activations none", "int8");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Network>> Network::Create(const LayerContext& context,
                                                         const LinearFactory& linears) {
  RETURN_IF_ERROR(CheckSupported(*context.config));
  auto network = std::unique_ptr<Network>(new Network(context));
  ASSIGN_OR_RETURN(const ParameterSlot* embedding, context.parameters->Find("embed.weight"));
  ASSIGN_OR_RETURN(const ParameterSlot* final_norm, context.parameters->Find("norm.weight"));
  network->embedding_ = *embedding;
  network->final_norm_ = *final_norm;
  for (int64_t layer = 0; layer < context.config->layers; ++layer) {
    ASSIGN_OR_RETURN(std::unique_ptr<Block> block,
                     AttentionBlock::Create(network->context_, linears, layer));
    network->blocks_.push_back(std::move(block));
  }
  return network;
}

at::Tensor Network::Embed(const std::vector<int64_t>& tokens) const {
  const int64_t hidden = context_.config->hidden, count = static_cast<int64_t>(tokens.size());
  at::Tensor rows = at::empty({count, hidden});
  float* out = rows.mutable_data_ptr<float>();
  const float* table = context_.parameters->weight() + embedding_.offset;
  for (int64_t t = 0; t < count; ++t)
    std::memcpy(out + t * hidden, table + tokens[t] * hidden, hidden * sizeof(float));
  return rows.requires_grad_(true);
}

at::Tensor Network::Forward(const at::Tensor& embedded, SequenceShape shape,
                            int64_t first_position) {
  if (rope_length_ != shape.length || rope_first_ != first_position) {
    rope_ = MakeRopeTables(*context_.config, first_position, shape.length);
    rope_length_ = shape.length;
    rope_first_ = first_position;
  }
  at::Tensor x = embedded;
  for (const std::unique_ptr<Block>& block : blocks_) x = block->Forward(x, shape, rope_);
  return AddRmsNorm(context_, final_norm_, x, {});
}

void Network::CommitEmbeddingGradient(const at::Tensor& gradient,
                                      const std::vector<int64_t>& tokens) const {
  const int64_t hidden = context_.config->hidden;
  const float* rows = gradient.data_ptr<float>();
  float* sum = context_.sink->Begin(embedding_.offset, embedding_.size);
  std::fill(sum, sum + embedding_.size, 0.0f);
  for (size_t t = 0; t < tokens.size(); ++t)
    AddRow(rows + t * hidden, hidden, sum + tokens[t] * hidden);
  context_.sink->Commit(embedding_.offset, embedding_.size);
}

}  // namespace tritter
