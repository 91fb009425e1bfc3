#include "worker/testing/tiny_model.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "worker/training/initialise.h"

namespace tritter {

ModelConfig TinyModel() {
  ModelConfig config;
  config.hidden = 32;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.ffn = 48;
  config.vocab = 264;
  config.context = 128;
  return config;
}

RunSpec TinySpec() {
  RunSpec spec;
  spec.name = "tiny";
  spec.model = TinyModel();
  spec.steps = 100;
  spec.sequence_length = 16;
  spec.global_batch = 8;
  spec.seed = 5;
  spec.schedule = {3e-3, 3e-4, 5, 80, 100, DecayShape::kCosine};
  spec.ema_fraction = 0.1;
  return spec;
}

std::vector<int64_t> TinyTokens(uint64_t seed, int64_t count) {
  Philox random(MixKey(seed));
  std::vector<int64_t> tokens;
  // Words of a small vocabulary, so that there is something to learn.
  while (static_cast<int64_t>(tokens.size()) < count) {
    const int64_t word = static_cast<int64_t>(random.Below(12));
    for (int64_t i = 0; i <= word % 4 + 1; ++i) tokens.push_back(8 + 'a' + (word * 7 + i * 3) % 26);
    tokens.push_back(8 + ' ');
  }
  tokens.resize(count);
  return tokens;
}

TinyNetwork::TinyNetwork(const ModelConfig& model, uint64_t seed)
    : config(model),
      parameters(config),
      sink(&parameters),
      parallel(1),
      context{&config, &parameters, &sink, &parallel} {
  InitialiseParameters(seed, config, &parameters);
  network = *Network::Create(context, BitLinearFactory(context));
  loss = *NextTokenLoss(context, BitLinearFactory(context), 0.0);
}

at::Tensor TinyNetwork::Weight(const std::string& name) {
  const ParameterSlot& slot = **parameters.Find(name);
  return at::from_blob(parameters.weight() + slot.offset, slot.spec.shape);
}
at::Tensor TinyNetwork::Gradient(const std::string& name) {
  const ParameterSlot& slot = **parameters.Find(name);
  return at::from_blob(parameters.gradient() + slot.offset, slot.spec.shape);
}

at::Tensor PlainBitLinear(const at::Tensor& x, const at::Tensor& w) {
  const at::Tensor scale = w.abs().mean(1, true).clamp_min(1e-5);
  const at::Tensor effective = w + ((w / scale).round().clamp(-1, 1) * scale - w).detach();
  const at::Tensor a = 127.0 / std::get<0>(x.abs().max(-1, true)).clamp_min(1e-5);
  const at::Tensor dequantised = x + ((x * a).round().clamp(-128, 127) / a - x).detach();
  return at::matmul(dequantised, effective.t());
}

at::Tensor PlainRmsNorm(const at::Tensor& x, const at::Tensor& w, double eps) {
  return x * ((x * x).mean(-1, true) + eps).rsqrt() * w;
}

at::Tensor PlainLogits(const ModelConfig& config,
                       const std::map<std::string, at::Tensor>& parameters,
                       const at::Tensor& tokens) {
  const int64_t batch = tokens.size(0), length = tokens.size(1), d = config.head_dim,
                group = config.heads / config.kv_heads;
  const at::Tensor frequency =
      at::pow(config.rope_theta, at::arange(d / 2, at::kDouble) * (-2.0 / static_cast<double>(d)));
  const at::Tensor angle = at::outer(at::arange(length, at::kDouble), frequency);
  const at::Tensor cos = angle.cos().to(at::kFloat).unsqueeze(1),
                   sin = angle.sin().to(at::kFloat).unsqueeze(1);  // [L, 1, D/2]
  const at::Tensor mask = at::ones({length, length}, at::kBool).triu(1);
  const auto rotate = [&](const at::Tensor& x) {
    const at::Tensor a = x.narrow(-1, 0, d / 2), b = x.narrow(-1, d / 2, d / 2);
    return at::cat({a * cos - b * sin, b * cos + a * sin}, -1);
  };
  at::Tensor x = at::embedding(parameters.at("embed.weight"), tokens);
  for (int64_t i = 0; i < config.layers; ++i) {
    const auto p = [&](const char* name) {
      return parameters.at(absl::StrCat("layers.", i, ".", name, ".weight"));
    };
    const at::Tensor n = PlainRmsNorm(x, p("norm_in"), config.norm_eps);
    const auto heads = [&](const at::Tensor& y) { return y.view({batch, length, -1, d}); };
    at::Tensor q = rotate(
        PlainRmsNorm(heads(PlainBitLinear(n, p("attn.q"))), p("attn.q_norm"), config.norm_eps));
    at::Tensor k = rotate(
        PlainRmsNorm(heads(PlainBitLinear(n, p("attn.k"))), p("attn.k_norm"), config.norm_eps));
    at::Tensor v = heads(PlainBitLinear(n, p("attn.v")));
    q = q.transpose(1, 2);
    k = k.transpose(1, 2).repeat_interleave(group, 1);
    v = v.transpose(1, 2).repeat_interleave(group, 1);
    const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(d));
    const at::Tensor attended = at::matmul(at::softmax(scores.masked_fill(mask, -INFINITY), -1), v);
    const at::Tensor h =
        x + PlainBitLinear(attended.transpose(1, 2).reshape({batch, length, -1}), p("attn.o"));
    const at::Tensor gate = at::relu(PlainBitLinear(h, p("ffn.gate")));
    const at::Tensor f =
        PlainBitLinear(gate * gate * PlainBitLinear(h, p("ffn.up")), p("ffn.down"));
    x = PlainRmsNorm(h + f, p("norm_post"), config.norm_eps);
  }
  return at::matmul(PlainRmsNorm(x, parameters.at("norm.weight"), config.norm_eps),
                    parameters.at("head.weight").t());
}

double RelativeError(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / b.to(at::kDouble).norm()).item<double>();
}

}  // namespace tritter
