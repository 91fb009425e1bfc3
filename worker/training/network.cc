#include "worker/training/network.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "kernels/float_ops.h"
#include "worker/training/autograd_node.h"

namespace tritter {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Matrices of one input and, with `bias: true`, their biases.
struct Projection {
  static absl::StatusOr<Projection> Create(const LayerContext& context,
                                           const LinearFactory& linears,
                                           const std::vector<std::string>& names) {
    Projection projection;
    LinearRequest request;
    std::vector<std::string> biases;
    for (const std::string& name : names) {
      request.names.push_back(name + ".weight");
      biases.push_back(name + ".bias");
    }
    ASSIGN_OR_RETURN(projection.linear, linears(request));
    if (context.config->bias) {
      ASSIGN_OR_RETURN(projection.bias, context.parameters->FindAdjacent(biases));
    }
    return projection;
  }
  at::Tensor Forward(const LayerContext& context, const at::Tensor& x) const {
    const at::Tensor y = linear->Forward(x);
    return bias.size > 0 ? AddBias(context, bias, y) : y;
  }

  std::unique_ptr<Linear> linear;
  ParameterSlot bias;
};

class AttentionBlock : public Block {
 public:
  static absl::StatusOr<std::unique_ptr<Block>> Create(const LayerContext& context,
                                                       const LinearFactory& linears,
                                                       int64_t layer) {
    auto block = std::unique_ptr<AttentionBlock>(new AttentionBlock(context));
    const ModelConfig& config = *context.config;
    const std::string prefix = absl::StrCat("layers.", layer, ".");
    const auto norm = [&](const char* name) {
      return FindNorm(*context.parameters, config.norm, prefix + name);
    };
    const auto make = [&](std::vector<std::string> names) {
      for (std::string& name : names) name.insert(0, prefix);
      return Projection::Create(context, linears, names);
    };
    ASSIGN_OR_RETURN(block->norm_in_, norm("norm_in"));
    ASSIGN_OR_RETURN(block->norm_post_, norm("norm_post"));
    if (config.qk_norm()) {
      ASSIGN_OR_RETURN(block->attention_.q_norm, norm("attn.q_norm"));
      ASSIGN_OR_RETURN(block->attention_.k_norm, norm("attn.k_norm"));
    }
    if (config.sub_norms()) {
      ASSIGN_OR_RETURN(block->attn_sub_norm_, norm("attn.sub_norm"));
      ASSIGN_OR_RETURN(block->ffn_sub_norm_, norm("ffn.sub_norm"));
    }
    ASSIGN_OR_RETURN(block->qkv_, make({"attn.q", "attn.k", "attn.v"}));
    ASSIGN_OR_RETURN(block->o_, make({"attn.o"}));
    ASSIGN_OR_RETURN(block->gate_up_, make({"ffn.gate", "ffn.up"}));
    ASSIGN_OR_RETURN(block->down_, make({"ffn.down"}));
    return std::unique_ptr<Block>(std::move(block));
  }

  at::Tensor Forward(const at::Tensor& x, SequenceShape shape, const RopeTables& rope) override {
    const at::Tensor qkv = qkv_.Forward(context_, Norm(norm_in_, x));
    const at::Tensor a = Attention(context_, attention_, rope, shape, qkv);
    const at::Tensor h = x + o_.Forward(context_, Norm(attn_sub_norm_, a));
    if (context_.config->ffn_pre_norm()) return h + FeedForward(Norm(norm_post_, h));
    return AddNorm(context_, norm_post_, h, FeedForward(h));
  }

 private:
  explicit AttentionBlock(const LayerContext& context) : context_(context) {}

  // x itself where the family has no such norm.
  at::Tensor Norm(const NormSlot& slot, const at::Tensor& x) const {
    return slot.width > 0 ? AddNorm(context_, slot, x, {}) : x;
  }
  at::Tensor FeedForward(const at::Tensor& x) const {
    const at::Tensor g = GatedRelu2(context_, gate_up_.Forward(context_, x));
    return down_.Forward(context_, Norm(ffn_sub_norm_, g));
  }

  LayerContext context_;
  NormSlot norm_in_, attn_sub_norm_, norm_post_, ffn_sub_norm_;
  AttentionSlots attention_;
  Projection qkv_, o_, gate_up_, down_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> Network::Create(const LayerContext& context,
                                                         const LinearFactory& linears) {
  auto network = std::unique_ptr<Network>(new Network(context));
  ASSIGN_OR_RETURN(const ParameterSlot* embedding, context.parameters->Find("embed.weight"));
  ASSIGN_OR_RETURN(network->final_norm_,
                   FindNorm(*context.parameters, context.config->norm, "norm"));
  network->embedding_ = *embedding;
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

// Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): of a segment only the input is
// kept. The kernels give the same bits every time, so the gradients are those of keeping all.
struct Network::RecomputedSegment : torch::autograd::Function<RecomputedSegment> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const SegmentCall& call) {
    ctx->save_for_backward({x});
    ctx->saved_data["network"] = Address(call.network);
    ctx->saved_data["first"] = static_cast<int64_t>(call.first);
    ctx->saved_data["end"] = static_cast<int64_t>(call.end);
    ctx->saved_data["sequences"] = call.shape.sequences;
    ctx->saved_data["length"] = call.shape.length;
    ctx->saved_data["document_start"] = Address(call.shape.document_start);
    return call.network->RunSegment(x, call);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    auto* network = reinterpret_cast<Network*>(ctx->saved_data["network"].toInt());
    const auto number = [&](const char* key) { return ctx->saved_data[key].toInt(); };
    const SegmentCall call{
        network,
        static_cast<size_t>(number("first")),
        static_cast<size_t>(number("end")),
        {number("sequences"), number("length"), Saved<int32_t>(ctx, "document_start")}};
    const at::Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(true);
    {
      at::AutoGradMode differentiate(true);
      network->RunSegment(x, call).backward(dy[0]);
    }
    return {x.grad(), at::Tensor()};
  }
};

at::Tensor Network::RunSegment(const at::Tensor& x, const SegmentCall& call) {
  at::Tensor y = x;
  for (size_t i = call.first; i < call.end; ++i) y = blocks_[i]->Forward(y, call.shape, rope_);
  return y;
}

at::Tensor Network::Forward(const at::Tensor& embedded, SequenceShape shape, int64_t first_position,
                            const Look& look) {
  if (rope_length_ != shape.length || rope_first_ != first_position) {
    rope_ = MakeRopeTables(*context_.config, first_position, shape.length);
    rope_length_ = shape.length;
    rope_first_ = first_position;
  }
  at::Tensor x = embedded;
  if (look) {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i]->Forward(x, shape, rope_);
      look(absl::StrCat("layers.", i), x);
    }
    x = AddNorm(context_, final_norm_, x, {});
    look("norm", x);
    return x;
  }
  const size_t segment = context_.recompute_layers > 0 ? context_.recompute_layers : blocks_.size();
  for (size_t first = 0; first < blocks_.size(); first += segment) {
    const SegmentCall call{this, first, std::min(first + segment, blocks_.size()), shape};
    x = context_.recompute_layers > 0 ? RecomputedSegment::apply(x, call) : RunSegment(x, call);
  }
  return AddNorm(context_, final_norm_, x, {});
}

void Network::CommitEmbeddingGradient(const at::Tensor& gradient,
                                      const std::vector<int64_t>& tokens) const {
  const int64_t hidden = context_.config->hidden;
  const float* rows = gradient.data_ptr<float>();
  float* sum = context_.sink->OpenSum(embedding_.offset);
  if (sum == nullptr) {
    sum = context_.sink->BeginSum(embedding_.offset, embedding_.size);
    std::fill(sum, sum + embedding_.size, 0.0f);
  }
  for (size_t t = 0; t < tokens.size(); ++t)
    AddRow(rows + t * hidden, hidden, sum + tokens[t] * hidden);
  context_.sink->EndSum();
}

}  // namespace tritter
