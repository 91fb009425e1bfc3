#include "worker/training/formula/formula_cases.h"

#include <ATen/ATen.h>

#include <functional>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "model/tokenizer.h"

namespace tritter {
namespace {

struct Variant {
  const char* name;
  std::function<void(ModelConfig*)> change;
};

}  // namespace

ModelConfig SmallModel(Family family) {
  ModelConfig c;
  ApplyFamilyDefaults(family, &c);
  c.hidden = 8;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 6;  // N·D is not H
  c.head_dim_given = true;
  c.ffn = 10;
  c.vocab = 13;
  c.context = 64;
  return c;
}

std::vector<std::pair<std::string, ModelConfig>> SwitchCases() {
  const Variant switches[] = {
      {"default", [](ModelConfig*) {}},
      {"layernorm and biases",
       [](ModelConfig* c) {
         c->norm = NormKind::kLayerNorm;
         c->bias = true;
       }},
      {"the other tying", [](ModelConfig* c) { c->tied_embeddings = !c->tied_embeddings; }},
      {"ternary head",
       [](ModelConfig* c) {
         c->tied_embeddings = false;
         c->lm_head_ternary = true;
       }},
      {"the other granularity",
       [](ModelConfig* c) {
         c->granularity = c->granularity == ScaleGranularity::kRow ? ScaleGranularity::kTensor
                                                                   : ScaleGranularity::kRow;
       }},
      {"threshold", [](ModelConfig* c) { c->weight_rule = WeightRule::kThreshold; }},
      {"threshold of the tensor, ternary head",
       [](ModelConfig* c) {
         c->weight_rule = WeightRule::kThreshold;
         c->granularity = ScaleGranularity::kTensor;
         c->tied_embeddings = false;
         c->lm_head_ternary = true;
       }},
      {"full precision", [](ModelConfig* c) { c->weight_rule = WeightRule::kNone; }},
      {"activations none", [](ModelConfig* c) { c->activations = ActivationRule::kNone; }},
      {"all heads alike", [](ModelConfig* c) { c->kv_heads = c->heads; }},
  };
  std::vector<std::pair<std::string, ModelConfig>> variants;
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    for (const Variant& v : switches) {
      ModelConfig config = SmallModel(family);
      v.change(&config);
      variants.emplace_back(absl::StrCat(FamilyName(family), ", ", v.name), config);
    }
  }
  return variants;
}

std::vector<std::pair<std::string, ModelConfig>> AttentionCases() {
  std::vector<std::pair<std::string, ModelConfig>> modes;
  for (AttentionMode mode :
       {AttentionMode::kCausal, AttentionMode::kSlidingWindow, AttentionMode::kSinks,
        AttentionMode::kBidirectional, AttentionMode::kPrefixLm, AttentionMode::kDocument,
        AttentionMode::kEmbedding}) {
    ModelConfig config = SmallModel(Family::kTritter);
    config.attention = mode;
    if (mode == AttentionMode::kSlidingWindow || mode == AttentionMode::kSinks) config.window = 3;
    if (mode == AttentionMode::kSinks) config.sinks = 2;
    modes.emplace_back(AttentionModeName(mode), config);
  }
  return modes;
}

// Two sequences, the first of three documents.
FormulaBatch CaseBatch() {
  const int64_t eos = kEosId;
  return {at::tensor(at::ArrayRef<int64_t>{5, 7, eos, 6, 12, 3, eos, 11, 4,  //
                                           9, 10, 5, 5, 8, 7, 3, 6, 12})
              .view({2, kCaseLength}),
          0, kCasePrefix};
}

// Weights of ordinary size, away from ties; norms and scales around one.
NamedTensors CaseParameters(const ModelConfig& config, uint64_t seed) {
  NamedTensors parameters;
  for (const ParameterSpec& spec : ParameterTable(config)) {
    Philox random(MixKey(seed, HashString(spec.name)));
    at::Tensor values = at::empty(spec.shape, at::kDouble);
    const bool around_one = spec.kind == ParameterKind::kNorm || spec.kind == ParameterKind::kScale;
    for (int64_t i = 0; i < values.numel(); ++i)
      values.mutable_data_ptr<double>()[i] = 0.5 * random.Normal() + (around_one ? 1.0 : 0.0);
    parameters[spec.name] = values.requires_grad_(true);
  }
  return parameters;
}

at::Tensor CaseTargets(const FormulaBatch& batch) {
  at::Tensor targets = batch.tokens.roll({-1}, {1}).clone();
  targets.narrow(1, kCaseLength - 1, 1).fill_(-1);
  return targets;
}

at::Tensor CaseWeights() {
  return at::linspace(0.3, 1.2, 2 * kCaseLength, at::kDouble).view({2, -1});
}

}  // namespace tritter
