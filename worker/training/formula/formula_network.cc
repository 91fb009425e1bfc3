#include "worker/training/formula/formula_network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "model/tokenizer.h"

namespace tritter {
at::Tensor Rotate(const at::Tensor& x, double theta, int64_t first_position) {
  const int64_t length = x.size(2), half = x.size(3) / 2;
  const auto doubles = at::device(x.device()).dtype(at::kDouble);
  const at::Tensor frequency =
      at::pow(theta, at::arange(half, doubles) * (-1.0 / static_cast<double>(half)));
  const at::Tensor angle =
      at::outer(at::arange(first_position, first_position + length, doubles), frequency);
  const at::Tensor cos = angle.cos().to(x.scalar_type()), sin = angle.sin().to(x.scalar_type());
  const at::Tensor x1 = x.narrow(3, 0, half), x2 = x.narrow(3, half, half);
  return at::cat({x1 * cos - x2 * sin, x2 * cos + x1 * sin}, 3);
}

NamedTensors LeafParameters(const ModelConfig& config, const float* values, at::ScalarType type) {
  NamedTensors parameters;
  for (const ParameterSpec& spec : ParameterTable(config)) {
    const at::Tensor view = at::from_blob(const_cast<float*>(values), spec.shape);
    parameters[spec.name] = view.to(type, false, /*copy=*/true).requires_grad_(true);
    values += view.numel();
  }
  return parameters;
}

at::Tensor VisibleKeys(const ModelConfig& config, const FormulaBatch& batch) {
  const int64_t length = batch.tokens.size(1);
  const at::Tensor position =
      at::arange(length, at::device(batch.tokens.device()).dtype(at::kLong));
  const at::Tensor q = position.unsqueeze(1), k = position.unsqueeze(0);
  const at::Tensor causal = k <= q;
  switch (config.attention) {
    case AttentionMode::kCausal:
    case AttentionMode::kEmbedding:
      return causal.unsqueeze(0);
    case AttentionMode::kSlidingWindow:
      return (causal & (q - k < config.window)).unsqueeze(0);
    case AttentionMode::kSinks:
      return (causal & ((q - k < config.window) | (k < config.sinks))).unsqueeze(0);
    case AttentionMode::kBidirectional:
      return at::ones_like(causal).unsqueeze(0);
    case AttentionMode::kPrefixLm:
      return (causal | ((q < batch.prefix) & (k < batch.prefix))).unsqueeze(0);
    case AttentionMode::kDocument: {
      // The number of eos before a position is the number of its document.
      const at::Tensor ends = (batch.tokens == static_cast<int64_t>(kEosId)).to(at::kLong);
      const at::Tensor document = ends.cumsum(1) - ends;
      return causal & (document.unsqueeze(2) == document.unsqueeze(1));
    }
  }
  return causal.unsqueeze(0);
}

at::Tensor FormulaNetwork::Rounded(const at::Tensor& x) const {
  return options_.bf16_products ? x.to(at::kBFloat16).to(x.scalar_type()) : x;
}

std::pair<at::Tensor, at::Tensor> FormulaNetwork::QuantiserBase(const std::string& key,
                                                                const at::Tensor& quantised,
                                                                const at::Tensor& x) {
  if (options_.quantisers != Quantisers::kFrozen) return {quantised, x.detach()};
  return frozen_.try_emplace(key, quantised.clone(), x.detach().clone()).first->second;
}

at::Tensor FormulaNetwork::EffectiveWeight(const std::string& name) {
  const at::Tensor& w = Parameter(name + ".weight");
  if (options_.quantisers == Quantisers::kOff) return w;
  const at::Tensor value = w.detach();
  const at::Tensor mean = config_.granularity == ScaleGranularity::kRow
                              ? value.abs().mean(1, /*keepdim=*/true)
                              : value.abs().mean();
  if (config_.weight_rule == WeightRule::kAbsMean) {
    const at::Tensor scale = mean.clamp_min(1e-5);
    const at::Tensor codes = (value / scale).round().clamp(-1, 1);
    const auto [q0, w0] = QuantiserBase(name + ".weight", codes * scale, w);
    return q0 + (w - w0);
  }
  // Threshold: W gets the gradient of the effective weight, the learned scale of a row that of
  // scale · codes.
  const at::Tensor codes = value.sign() * (value.abs() > mean);
  const auto [q0, w0] = QuantiserBase(name + ".weight", codes, w);
  return Parameter(name + ".scale").unsqueeze(1) * q0 + (w - w0);
}

at::Tensor FormulaNetwork::Linear(const std::string& name, const at::Tensor& x) {
  at::Tensor y;
  if (config_.weight_rule == WeightRule::kNone) {
    y = at::matmul(Rounded(x), Rounded(Parameter(name + ".weight")).t());
  } else {
    at::Tensor input = Rounded(x);
    if (config_.activations == ActivationRule::kInt8 && options_.quantisers != Quantisers::kOff) {
      const at::Tensor largest = x.detach().abs().amax({-1}, /*keepdim=*/true).clamp_min(1e-5);
      const at::Tensor codes = (x.detach() * (127.0 / largest)).round().clamp(-128, 127);
      const auto [q0, x0] = QuantiserBase(name + " input", codes * (largest / 127.0), x);
      input = q0 + (x - x0);
    }
    y = at::matmul(input, EffectiveWeight(name).t());
  }
  const auto bias = parameters_.find(name + ".bias");
  if (bias != parameters_.end()) y = y + bias->second;
  return Rounded(y);
}

at::Tensor FormulaNetwork::Linears(const std::string& norm, const std::vector<std::string>& names,
                                   const at::Tensor& x) {
  const at::Tensor input = norm.empty() ? x : Norm(norm, x);
  std::vector<at::Tensor> outputs;
  for (const std::string& name : names) outputs.push_back(Linear(name, input));
  return at::cat(outputs, -1);
}

at::Tensor FormulaNetwork::Norm(const std::string& name, const at::Tensor& x) {
  const at::Tensor& w = Parameter(name + ".weight");
  if (config_.norm == NormKind::kRmsNorm) {
    return x * ((x * x).mean(-1, true) + config_.norm_eps).rsqrt() * w;
  }
  const at::Tensor centred = x - x.mean(-1, true);
  return centred * ((centred * centred).mean(-1, true) + config_.norm_eps).rsqrt() * w +
         Parameter(name + ".bias");
}

std::vector<at::Tensor> FormulaNetwork::Heads(const std::string& layer, const at::Tensor& qkv,
                                              const FormulaBatch& batch) {
  const int64_t n = config_.heads, k = config_.kv_heads;
  std::vector<at::Tensor> parts = qkv.view({qkv.size(0), qkv.size(1), n + 2 * k, config_.head_dim})
                                      .split_with_sizes({n, k, k}, 2);
  if (config_.qk_norm()) {  // before the rotation: see the specification
    parts[0] = Norm(layer + "attn.q_norm", parts[0]);
    parts[1] = Norm(layer + "attn.k_norm", parts[1]);
  }
  for (at::Tensor& part : parts) part = part.transpose(1, 2);
  for (int i : {0, 1}) parts[i] = Rotate(parts[i], config_.rope_theta, batch.first_position);
  return parts;
}

at::Tensor FormulaNetwork::Attend(const std::string& layer, const at::Tensor& qkv,
                                  const FormulaBatch& batch, const at::Tensor& visible) {
  const int64_t group = config_.heads / config_.kv_heads;
  const std::vector<at::Tensor> heads = Heads(layer, qkv, batch);
  const at::Tensor q = heads[0], k = heads[1].repeat_interleave(group, 1),
                   v = heads[2].repeat_interleave(group, 1);  // [B, N, L, D]
  const at::Tensor scores = at::matmul(Rounded(q), Rounded(k).transpose(2, 3)) /
                            std::sqrt(static_cast<double>(config_.head_dim));
  const at::Tensor weights =
      at::softmax(scores.masked_fill(visible.unsqueeze(1).logical_not(),
                                     -std::numeric_limits<double>::infinity()),
                  -1);
  const at::Tensor out = Rounded(at::matmul(Rounded(weights), Rounded(v)));
  return out.transpose(1, 2).reshape({qkv.size(0), qkv.size(1), -1});
}

at::Tensor FormulaNetwork::Gate(const at::Tensor& gate_up) {
  const std::vector<at::Tensor> parts = gate_up.chunk(2, -1);
  const at::Tensor gate = at::relu(parts[0]);
  return gate * gate * parts[1];
}

at::Tensor FormulaNetwork::FeedForward(const std::string& norm, const std::string& layer,
                                       const at::Tensor& x) {
  const at::Tensor inner = Gate(Linears(norm, {layer + "ffn.gate", layer + "ffn.up"}, x));
  return Linears(config_.sub_norms() ? layer + "ffn.sub_norm" : "", {layer + "ffn.down"}, inner);
}

at::Tensor FormulaNetwork::Embed(const at::Tensor& tokens) const {
  return at::embedding(Parameter("embed.weight"), tokens);
}

at::Tensor FormulaNetwork::Layer(int64_t layer, const at::Tensor& x, const FormulaBatch& batch,
                                 const at::Tensor& visible) {
  const std::string prefix = absl::StrCat("layers.", layer, "."), post = prefix + "norm_post";
  const at::Tensor qkv =
      Linears(prefix + "norm_in", {prefix + "attn.q", prefix + "attn.k", prefix + "attn.v"}, x);
  const at::Tensor attended = Attend(prefix, qkv, batch, visible);
  const at::Tensor h = x + Linears(config_.sub_norms() ? prefix + "attn.sub_norm" : "",
                                   {prefix + "attn.o"}, attended);
  return config_.ffn_pre_norm() ? h + FeedForward(post, prefix, h)
                                : Norm(post, h + FeedForward("", prefix, h));
}

at::Tensor FormulaNetwork::Layers(const at::Tensor& x, const FormulaBatch& batch,
                                  const at::Tensor& visible) {
  at::Tensor y = x;
  for (int64_t i = 0; i < config_.layers; ++i) y = Layer(i, y, batch, visible);
  return y;
}

at::Tensor FormulaNetwork::Hidden(const at::Tensor& embedded, const FormulaBatch& batch,
                                  const Look& look) {
  const at::Tensor visible = Mask(batch);
  if (!look) return Norm("norm", Layers(embedded, batch, visible));
  at::Tensor x = embedded;
  for (int64_t i = 0; i < config_.layers; ++i) {
    x = Layer(i, x, batch, visible);
    look(absl::StrCat("layers.", i), x);
  }
  x = Norm("norm", x);
  look("norm", x);
  return x;
}

at::Tensor FormulaNetwork::Head(const at::Tensor& hidden) {
  if (!config_.tied_embeddings && config_.lm_head_ternary) return Linear("head", hidden);
  const at::Tensor& weight = Parameter(config_.tied_embeddings ? "embed.weight" : "head.weight");
  return at::matmul(Rounded(hidden), Rounded(weight).t());
}

at::Tensor FormulaNetwork::Loss(const FormulaBatch& batch, const at::Tensor& targets,
                                const at::Tensor& weights) {
  const at::Tensor logits = Logits(batch);
  at::Tensor counted = targets >= 0;
  if (config_.attention == AttentionMode::kPrefixLm && batch.prefix > 1) {
    // The target at t is token t + 1; those of the prefix were seen.
    counted = counted.clone();
    counted.narrow(1, 0, std::min(batch.prefix - 1, targets.size(1))).fill_(false);
  }
  const at::Tensor log_z = logits.logsumexp({-1});
  const at::Tensor target_logit = logits.gather(-1, targets.clamp_min(0).unsqueeze(-1)).squeeze(-1);
  const at::Tensor loss = log_z - target_logit + options_.z_loss * log_z * log_z;
  return (loss * weights * counted).sum();
}

}  // namespace tritter
