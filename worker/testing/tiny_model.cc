#include "worker/testing/tiny_model.h"

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

ModelConfig TinyModel(Family family) {
  ModelConfig config = TinyModel();
  ApplyFamilyDefaults(family, &config);
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
  spec.precision = "fp32";  // whatever is faster here
  spec.schedule = {3e-3, 3e-4, 5, 80, 100, DecayShape::kCosine};
  spec.ema_window = 10;
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

TinyNetwork::TinyNetwork(const ModelConfig& model, uint64_t seed, GemmType type,
                         const NextTokenOptions& options)
    : config(model),
      parameters(config),
      sink(&parameters),
      parallel(1),
      products(type, &parallel),
      context{&config, &parameters, &sink, &parallel, &products} {
  InitialiseParameters(seed, config, &parameters);
  network = *Network::Create(context, BitLinearFactory(context));
  loss = *NextTokenLoss(context, BitLinearFactory(context), options);
}

at::Tensor TinyNetwork::Weight(const std::string& name) {
  const ParameterSlot& slot = **parameters.Find(name);
  return at::from_blob(parameters.MutableWeights() + slot.offset, slot.spec.shape);
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

double RelativeError(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / b.to(at::kDouble).norm()).item<double>();
}

}  // namespace tritter
