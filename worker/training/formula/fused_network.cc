#include "worker/training/formula/fused_network.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/float_ops.h"
#include "worker/training/attention_rule.h"
#include "worker/training/autograd_node.h"

namespace tritter {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Leaves that are views of the flat arrays: what autograd adds to their gradient lands in
// `gradient`.
NamedTensors Leaves(const FusedNetwork::Options& options) {
  NamedTensors leaves;
  for (const ParameterSlot& slot : *options.slots) {
    const at::Tensor leaf =
        options.weight.narrow(0, slot.offset, slot.size).view(slot.spec.shape).detach();
    if (options.gradient.defined()) {
      leaf.requires_grad_(true);
      leaf.mutable_grad() =
          options.gradient.narrow(0, slot.offset, slot.size).view(slot.spec.shape);
    }
    leaves[slot.spec.name] = leaf;
  }
  return leaves;
}

}  // namespace

// x [T, in] -> the stacked matrix's outputs [T, out], through an RMSNorm first where `norm` is
// given. The weights are no inputs for autograd: their gradients are summed here.
struct LinearsFunction : torch::autograd::Function<LinearsFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, FusedNetwork* network,
                            FusedNetwork::Matrix* matrix, const ParameterSlot* norm) {
    const at::Tensor weight = norm == nullptr ? at::Tensor() : network->Weight(norm->spec.name);
    const FusedNetwork::Input input = network->Quantise(*matrix, x, weight);
    ctx->saved_data["network"] = Address(network);
    ctx->saved_data["matrix"] = Address(matrix);
    ctx->saved_data["norm"] = Address(norm);
    ctx->save_for_backward(
        {norm == nullptr ? at::Tensor() : x, input.codes.codes, input.codes.factor, input.plain});
    return network->Product(*matrix, input, x.scalar_type());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    auto* network = Saved<FusedNetwork>(ctx, "network");
    auto* matrix = Saved<FusedNetwork::Matrix>(ctx, "matrix");
    const auto* norm = Saved<const ParameterSlot>(ctx, "norm");
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor dy = grads[0].contiguous();
    network->AddWeightGradient(*matrix, {{saved[1], saved[2]}, saved[3]}, dy, !network->first_);
    at::Tensor dx = at::mm(dy, matrix->effective);
    if (norm != nullptr) {
      auto [through, dnorm] = network->options_.kernels->RmsNormBackward(
          saved[0], network->Weight(norm->spec.name), network->config().norm_eps, dx);
      network->AddGradient(*norm, dnorm);
      dx = through;
    }
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct NormFunction : torch::autograd::Function<NormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, FusedNetwork* network,
                            const ParameterSlot* norm) {
    ctx->saved_data["network"] = Address(network);
    ctx->saved_data["norm"] = Address(norm);
    ctx->save_for_backward({x});
    return network->options_.kernels->RmsNorm(x, network->Weight(norm->spec.name),
                                              network->config().norm_eps);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    auto* network = Saved<FusedNetwork>(ctx, "network");
    const auto* norm = Saved<const ParameterSlot>(ctx, "norm");
    const auto [dx, dnorm] = network->options_.kernels->RmsNormBackward(
        ctx->get_saved_variables()[0], network->Weight(norm->spec.name), network->config().norm_eps,
        grads[0].contiguous());
    network->AddGradient(*norm, dnorm);
    return {dx, at::Tensor(), at::Tensor()};
  }
};

// qkv [T, (N + 2K)·D] -> q and k in their places [T, (N + K)·D], v [T, K·D].
struct PlaceFunction : torch::autograd::Function<PlaceFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& qkv, FusedNetwork* network,
                               const ParameterSlot* q_norm, const ParameterSlot* k_norm) {
    const ModelConfig& c = network->config();
    ctx->saved_data["network"] = Address(network);
    ctx->saved_data["q_norm"] = Address(q_norm);
    ctx->saved_data["k_norm"] = Address(k_norm);
    ctx->save_for_backward({qkv, network->cos_, network->sin_});
    const at::Tensor placed = network->options_.kernels->PlaceHeads(
        qkv, {c.heads, c.kv_heads, c.head_dim}, Norm(network, q_norm), Norm(network, k_norm),
        c.norm_eps, network->cos_, network->sin_);
    return {placed, qkv.narrow(1, placed.size(1), c.kv_heads * c.head_dim).contiguous()};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    auto* network = Saved<FusedNetwork>(ctx, "network");
    const auto* q_norm = Saved<const ParameterSlot>(ctx, "q_norm");
    const auto* k_norm = Saved<const ParameterSlot>(ctx, "k_norm");
    const variable_list saved = ctx->get_saved_variables();
    const ModelConfig& c = network->config();
    const TensorKernels::PlacedGradient gradient = network->options_.kernels->PlaceHeadsBackward(
        saved[0], {c.heads, c.kv_heads, c.head_dim}, Norm(network, q_norm), Norm(network, k_norm),
        c.norm_eps, saved[1], saved[2], grads[0].contiguous(), grads[1].contiguous());
    if (q_norm != nullptr) {
      network->AddGradient(*q_norm, gradient.q_norm);
      network->AddGradient(*k_norm, gradient.k_norm);
    }
    return {gradient.qkv, at::Tensor(), at::Tensor(), at::Tensor()};
  }

 private:
  static at::Tensor Norm(const FusedNetwork* network, const ParameterSlot* slot) {
    return slot == nullptr ? at::Tensor() : network->Weight(slot->spec.name);
  }
};

struct GateFunction : torch::autograd::Function<GateFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up,
                            const TensorKernels* kernels) {
    ctx->saved_data["kernels"] = Address(kernels);
    ctx->save_for_backward({gate_up});
    return kernels->Gate(gate_up);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    return {Saved<const TensorKernels>(ctx, "kernels")
                ->GateBackward(ctx->get_saved_variables()[0], grads[0].contiguous()),
            at::Tensor()};
  }
};

// Activation checkpointing as in worker/training/network.cc: of layers [first, end) only the input
// is kept.
struct RecomputedSegment : torch::autograd::Function<RecomputedSegment> {
  struct Call {
    FusedNetwork* network;
    int64_t first, end;
    const FormulaBatch* batch;
  };
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const Call& call) {
    ctx->save_for_backward({x, call.batch->tokens});
    ctx->saved_data["network"] = Address(call.network);
    ctx->saved_data["first"] = call.first;
    ctx->saved_data["end"] = call.end;
    ctx->saved_data["first_position"] = call.batch->first_position;
    ctx->saved_data["prefix"] = call.batch->prefix;
    return Run(x, call);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    const auto number = [&](const char* key) { return ctx->saved_data[key].toInt(); };
    const variable_list saved = ctx->get_saved_variables();
    const FormulaBatch batch = {saved[1], number("first_position"), number("prefix")};
    const at::Tensor x = saved[0].detach().requires_grad_(true);
    {
      const c10::AutoGradMode differentiate(true);
      Run(x, {Saved<FusedNetwork>(ctx, "network"), number("first"), number("end"), &batch})
          .backward(dy[0]);
    }
    return {x.grad(), at::Tensor()};
  }

 private:
  static at::Tensor Run(const at::Tensor& x, const Call& call) {
    at::Tensor y = x;
    for (int64_t i = call.first; i < call.end; ++i) y = call.network->Layer(i, y, *call.batch, {});
    return y;
  }
};

FusedNetwork::FusedNetwork(const ModelConfig& config, const Options& options)
    : FormulaNetwork(config, Leaves(options)), options_(options) {
  for (const ParameterSlot& slot : *options.slots) slots_[slot.spec.name] = &slot;
}

const ParameterSlot* FusedNetwork::Slot(const std::string& name) const {
  const auto found = slots_.find(name);
  return found == slots_.end() ? nullptr : found->second;
}

at::Tensor FusedNetwork::Flat(const at::Tensor& all,
                              const std::vector<const ParameterSlot*>& slots) const {
  int64_t size = 0;
  for (const ParameterSlot* slot : slots) size += slot->size;
  return all.narrow(0, slots.front()->offset, size);
}

FusedNetwork::Matrix& FusedNetwork::Find(const std::vector<std::string>& names, bool ternary) {
  Matrix& matrix = matrices_[names.front()];
  if (matrix.weights.empty()) {
    for (const std::string& name : names) {
      matrix.weights.push_back(Slot(name + ".weight"));
      matrix.rows.push_back(matrix.weights.back()->spec.shape[0]);
      if (const ParameterSlot* scale = Slot(name + ".scale")) matrix.scales.push_back(scale);
    }
    matrix.ternary = ternary && config().weight_rule != WeightRule::kNone;
  }
  if (matrix.version != version_) Refresh(&matrix);
  return matrix;
}

void FusedNetwork::Refresh(Matrix* matrix) {
  const c10::NoGradGuard no_grad;
  const at::Tensor w =
      Flat(options_.weight, matrix->weights).view({-1, matrix->weights.front()->spec.shape[1]});
  if (matrix->ternary) {
    const at::Tensor scale =
        matrix->scales.empty() ? at::Tensor() : Flat(options_.weight, matrix->scales);
    matrix->codes = options_.kernels->QuantiseMatrix(w, matrix->rows, config(), scale);
    matrix->effective = options_.kernels->Dequantise(matrix->codes, options_.type);
  } else {
    matrix->effective = w.to(options_.type);
  }
  matrix->version = version_;
}

FusedNetwork::Input FusedNetwork::Quantise(const Matrix& matrix, const at::Tensor& x,
                                           const at::Tensor& norm) const {
  const double eps = config().norm_eps;
  if (matrix.ternary && config().activations == ActivationRule::kInt8)
    return {options_.kernels->QuantiseRows(x, norm, eps), {}};
  return {{}, norm.defined() ? options_.kernels->RmsNorm(x, norm, eps) : x};
}

at::Tensor FusedNetwork::Product(const Matrix& matrix, const Input& x, at::ScalarType type) const {
  if (x.codes.codes.defined())
    return options_.kernels->QuantisedProduct(x.codes, matrix.codes, type);
  if (!matrix.ternary) {
    return type == at::kFloat ? options_.kernels->FloatProduct(x.plain, matrix.effective.t())
                              : at::mm(x.plain, matrix.effective.t());
  }
  // Codes are exact in every type; the factor is applied to the float sum.
  const at::Tensor sums =
      options_.kernels->FloatProduct(x.plain, matrix.codes.codes.to(x.plain.scalar_type()).t());
  return (sums * matrix.codes.factor).to(type);
}

void FusedNetwork::AddGradient(const ParameterSlot& slot, const at::Tensor& value) {
  options_.gradient.narrow(0, slot.offset, slot.size).add_(value.reshape({-1}));
}

void FusedNetwork::AddWeightGradient(const Matrix& matrix, const Input& x, const at::Tensor& dy,
                                     bool add) {
  const at::Tensor input =
      x.codes.codes.defined() ? options_.kernels->Dequantise(x.codes, dy.scalar_type()) : x.plain;
  const at::Tensor gradient = Flat(options_.gradient, matrix.weights).view({-1, input.size(1)});
  if (matrix.scales.empty()) {
    options_.kernels->FloatProductInto(dy.t(), input, add, gradient);
  } else {
    // The learned scale of a row gets Σ dŴ · code.
    const at::Tensor dw = options_.kernels->FloatProduct(dy.t(), input);
    Flat(options_.gradient, matrix.scales).add_((dw * matrix.codes.codes).sum(1));
    if (add) {
      gradient.add_(dw);
    } else {
      gradient.copy_(dw);
    }
  }
  if (!last_ || !ready_) return;
  for (const ParameterSlot* slot : matrix.weights) ready_(*slot);
}

at::Tensor FusedNetwork::Embed(const at::Tensor& tokens) const {
  return FormulaNetwork::Embed(tokens).to(options_.type);
}

at::Tensor FusedNetwork::Norm(const std::string& name, const at::Tensor& x) {
  const int64_t n = x.size(-1);
  if (config().norm == NormKind::kLayerNorm) {
    return at::layer_norm(x, {n}, Weight(name + ".weight").to(options_.type),
                          Weight(name + ".bias").to(options_.type), config().norm_eps);
  }
  return NormFunction::apply(x.reshape({-1, n}), this, Slot(name + ".weight")).view(x.sizes());
}

at::Tensor FusedNetwork::Linears(const std::string& norm, const std::vector<std::string>& names,
                                 const at::Tensor& x) {
  const bool fused_norm = !norm.empty() && config().norm == NormKind::kRmsNorm;
  const at::Tensor input = norm.empty() || fused_norm ? x : Norm(norm, x);
  Matrix& matrix = Find(names, true);
  std::vector<int64_t> shape = x.sizes().vec();
  at::Tensor y = LinearsFunction::apply(input.reshape({-1, shape.back()}), this, &matrix,
                                        fused_norm ? Slot(norm + ".weight") : nullptr);
  if (config().bias) {
    std::vector<at::Tensor> biases;
    for (const std::string& name : names) biases.push_back(Weight(name + ".bias"));
    y = y + at::cat(biases).to(options_.type);
  }
  shape.back() = y.size(1);
  return y.view(shape);
}

at::Tensor FusedNetwork::Mask(const FormulaBatch& batch) {
  const AttentionMode mode = config().attention;
  const int64_t length = batch.tokens.size(1), prefix = std::min(batch.prefix, length);
  if (mode == AttentionMode::kCausal || mode == AttentionMode::kEmbedding) return {};
  const auto options = at::device(options_.weight.device()).dtype(options_.type);
  if (mode == AttentionMode::kDocument) {
    const at::Tensor tokens = batch.tokens.cpu().contiguous();
    const std::vector<int32_t> starts = DocumentStarts(
        config(), absl::MakeConstSpan(tokens.data_ptr<int64_t>(), tokens.numel()), length);
    std::vector<AttentionMask> masks;
    for (int64_t s = 0; s < tokens.size(0); ++s)
      masks.push_back(MaskOf(config(), length, starts.data() + s * length));
    tiles_ = AttentionTiles(masks, options_.query_block, options);
  } else if (tiles_length_ != length || tiles_prefix_ != prefix) {
    AttentionMask mask = MaskOf(config(), length, nullptr);
    if (mode == AttentionMode::kPrefixLm) mask.prefix = prefix;
    tiles_ = AttentionTiles({mask}, options_.query_block, options);
    tiles_length_ = length;
    tiles_prefix_ = prefix;
  }
  return {};
}

at::Tensor FusedNetwork::Layers(const at::Tensor& x, const FormulaBatch& batch,
                                const at::Tensor& visible) {
  const int64_t segment = options_.recompute_layers, layers = config().layers;
  if (segment == 0 || !c10::GradMode::is_enabled())
    return FormulaNetwork::Layers(x, batch, visible);
  at::Tensor y = x;
  for (int64_t first = 0; first < layers; first += segment) {
    y = RecomputedSegment::apply(
        y, RecomputedSegment::Call{this, first, std::min(first + segment, layers), &batch});
  }
  return y;
}

at::Tensor FusedNetwork::Attend(const std::string& layer, const at::Tensor& qkv,
                                const FormulaBatch& batch, const at::Tensor&) {
  const ModelConfig& c = config();
  const int64_t sequences = qkv.size(0), length = qkv.size(1), d = c.head_dim;
  std::vector<at::Tensor> heads;
  if (c.qk_norm() && c.norm == NormKind::kLayerNorm) {
    heads = Heads(layer, qkv, batch);
    for (at::Tensor& head : heads) head = head.to(options_.type);
  } else {
    if (!cos_.defined() || cos_.size(0) != length || rope_first_ != batch.first_position) {
      cos_ = at::empty({length, d / 2}, at::kFloat);
      sin_ = at::empty_like(cos_);
      RopeTable(c.rope_theta, d, batch.first_position, length, cos_.mutable_data_ptr<float>(),
                sin_.mutable_data_ptr<float>());
      cos_ = cos_.to(qkv.device());
      sin_ = sin_.to(qkv.device());
      rope_first_ = batch.first_position;
    }
    const auto slot = [&](const char* name) {
      return c.qk_norm() ? Slot(absl::StrCat(layer, name)) : nullptr;
    };
    const variable_list placed =
        PlaceFunction::apply(qkv.view({sequences * length, -1}), this, slot("attn.q_norm.weight"),
                             slot("attn.k_norm.weight"));
    heads = placed[0]
                .view({sequences, length, c.heads + c.kv_heads, d})
                .split_with_sizes({c.heads, c.kv_heads}, 2);
    heads.push_back(placed[1].view({sequences, length, c.kv_heads, d}));
    for (at::Tensor& head : heads) head = head.transpose(1, 2);  // [B, N or K, L, D]
  }
  const at::Tensor out =
      tiles_.empty() ? at::scaled_dot_product_attention(heads[0], heads[1], heads[2], std::nullopt,
                                                        0.0, /*is_causal=*/true, std::nullopt,
                                                        c.heads != c.kv_heads)
                     : AttendInTiles(heads[0], heads[1], heads[2], tiles_);
  return out.transpose(1, 2).reshape({sequences, length, c.heads * d});
}

at::Tensor FusedNetwork::Gate(const at::Tensor& gate_up) {
  std::vector<int64_t> shape = gate_up.sizes().vec();
  const at::Tensor y = GateFunction::apply(gate_up.view({-1, shape.back()}), options_.kernels);
  shape.back() /= 2;
  return y.view(shape);
}

FusedNetwork::Matrix& FusedNetwork::HeadMatrix() {
  if (config().tied_embeddings) return Find({"embed"}, false);
  return Find({"head"}, config().lm_head_ternary);
}

at::Tensor FusedNetwork::Head(const at::Tensor& hidden) {
  std::vector<int64_t> shape = hidden.sizes().vec();
  const Matrix& head = HeadMatrix();
  const at::Tensor rows = hidden.reshape({-1, shape.back()});
  shape.back() = config().vocab;
  return Product(head, Quantise(head, rows, {}), at::kFloat).view(shape);
}

FusedNetwork::LossResult FusedNetwork::Loss(const at::Tensor& hidden, const at::Tensor& targets,
                                            const at::Tensor& weights, double scale) {
  const c10::NoGradGuard no_grad;
  const Matrix& head = HeadMatrix();
  const at::Tensor rows = hidden.detach().reshape({-1, hidden.size(-1)});
  const int64_t tokens = rows.size(0),
                chunk = std::max<int64_t>(64, options_.chunk_floats / config().vocab);
  LossResult result;
  result.loss = at::zeros({}, rows.options().dtype(at::kDouble));
  result.hidden_gradient = at::empty_like(rows);
  const bool last = last_;
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    const int64_t count = std::min(chunk, tokens - begin);
    const Input x = Quantise(head, rows.narrow(0, begin, count), {});
    const auto [loss, dlogits] = options_.kernels->CrossEntropy(
        Product(head, x, at::kFloat), targets.narrow(0, begin, count),
        weights.narrow(0, begin, count), scale, options_.z_loss, options_.type);
    result.loss.add_(loss);
    if (!options_.gradient.defined()) continue;
    result.hidden_gradient.narrow(0, begin, count).copy_(at::mm(dlogits, head.effective));
    // The embedding's gradient, where tied, is complete only after the backward pass.
    last_ = last && begin + count == tokens && !config().tied_embeddings;
    AddWeightGradient(head, x, dlogits, !first_ || begin > 0);
  }
  last_ = last;
  result.hidden_gradient = result.hidden_gradient.view(hidden.sizes());
  return result;
}

}  // namespace tritter
