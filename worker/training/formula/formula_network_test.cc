// The formulas against plain loops, their gradients against finite differences, all in FP64, and
// the properties of the specification.
#include "worker/training/formula/formula_network.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "model/tokenizer.h"
#include "worker/training/formula/loop_model.h"

namespace tritter {
namespace {

constexpr int64_t kLength = 9;

ModelConfig Small(Family family = Family::kTritter) {
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

struct Variant {
  const char* name;
  std::function<void(ModelConfig*)> change;
};

std::vector<std::pair<std::string, ModelConfig>> Variants() {
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
      ModelConfig config = Small(family);
      v.change(&config);
      variants.emplace_back(absl::StrCat(FamilyName(family), ", ", v.name), config);
    }
  }
  return variants;
}

std::vector<std::pair<std::string, ModelConfig>> Modes() {
  std::vector<std::pair<std::string, ModelConfig>> modes;
  for (AttentionMode mode :
       {AttentionMode::kCausal, AttentionMode::kSlidingWindow, AttentionMode::kSinks,
        AttentionMode::kBidirectional, AttentionMode::kPrefixLm, AttentionMode::kDocument,
        AttentionMode::kEmbedding}) {
    ModelConfig config = Small();
    config.attention = mode;
    if (mode == AttentionMode::kSlidingWindow || mode == AttentionMode::kSinks) config.window = 3;
    if (mode == AttentionMode::kSinks) config.sinks = 2;
    modes.emplace_back(AttentionModeName(mode), config);
  }
  return modes;
}

constexpr int64_t kPrefix = 4;

// Two sequences, the first of three documents.
FormulaBatch Batch() {
  const int64_t eos = kEosId;
  return {at::tensor(at::ArrayRef<int64_t>{5, 7, eos, 6, 12, 3, eos, 11, 4,  //
                                           9, 10, 5, 5, 8, 7, 3, 6, 12})
              .view({2, kLength}),
          0, kPrefix};
}

// Weights of ordinary size, away from ties; norms and scales around one.
NamedTensors RandomParameters(const ModelConfig& config, uint64_t seed = 1) {
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

std::vector<double> Values(const at::Tensor& t) {
  const at::Tensor flat = t.detach().contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

void ExpectLoopLogits(const ModelConfig& config, FormulaBatch batch, const std::string& what) {
  FormulaNetwork network(config, RandomParameters(config));
  LoopParameters values;
  for (const auto& [name, tensor] : network.parameters()) values[name] = Values(tensor);
  const at::Tensor logits = network.Logits(batch);
  for (int64_t s = 0; s < batch.tokens.size(0); ++s) {
    const int64_t* tokens = batch.tokens.data_ptr<int64_t>() + s * kLength;
    const auto expected =
        LoopLogits(config, values, {tokens, tokens + kLength}, batch.first_position, batch.prefix);
    for (int64_t t = 0; t < kLength; ++t) {
      const std::vector<double> row = Values(logits[s][t]);
      for (int64_t v = 0; v < config.vocab; ++v)
        ASSERT_NEAR(row[v], expected[t][v], 1e-10) << what << ": " << s << " " << t << " " << v;
    }
  }
}

TEST(FormulaNetwork, LogitsAreThoseOfPlainLoopsForEverySwitch) {
  for (const auto& [name, config] : Variants()) ExpectLoopLogits(config, Batch(), name);
}

TEST(FormulaNetwork, LogitsAreThoseOfPlainLoopsForEveryAttentionMode) {
  FormulaBatch batch = Batch();
  batch.first_position = 17;
  for (const auto& [name, config] : Modes()) ExpectLoopLogits(config, batch, name);
}

TEST(FormulaNetwork, MasksAreThoseOfTheRules) {
  const FormulaBatch batch = Batch();
  for (const auto& [name, config] : Modes()) {
    const at::Tensor visible = VisibleKeys(config, batch).expand({2, kLength, kLength});
    for (int64_t s = 0; s < 2; ++s) {
      const int64_t* tokens = batch.tokens.data_ptr<int64_t>() + s * kLength;
      for (int64_t q = 0; q < kLength; ++q) {
        for (int64_t k = 0; k < kLength; ++k) {
          EXPECT_EQ(visible[s][q][k].item<bool>(),
                    LoopSees(config, {tokens, tokens + kLength}, kPrefix, q, k))
              << name << ": " << s << " " << q << " " << k;
        }
      }
    }
  }
}

at::Tensor Targets(const FormulaBatch& batch) {
  at::Tensor targets = batch.tokens.roll({-1}, {1}).clone();
  targets.narrow(1, kLength - 1, 1).fill_(-1);
  return targets;
}

at::Tensor Weights() { return at::linspace(0.3, 1.2, 2 * kLength, at::kDouble).view({2, -1}); }

// Central differences along a random direction of every parameter.
void ExpectGradientsOfDifferences(const ModelConfig& config, Quantisers quantisers,
                                  const std::string& what) {
  FormulaNetwork network(config, RandomParameters(config), {quantisers, false, 0.05});
  const FormulaBatch batch = Batch();
  const auto loss = [&] { return network.Loss(batch, Targets(batch), Weights()); };
  const auto value_of_loss = [&] {
    const c10::NoGradGuard no_grad;
    return loss().item<double>();
  };
  loss().backward();
  for (auto& [name, parameter] : network.parameters()) {
    const bool unused = quantisers == Quantisers::kOff && absl::EndsWith(name, ".scale");
    ASSERT_EQ(parameter.grad().defined(), !unused) << what << ": " << name;
    if (unused) continue;
    Philox random(MixKey(1, HashString(name)));
    at::Tensor direction = at::empty_like(parameter.detach());
    for (int64_t i = 0; i < direction.numel(); ++i)
      direction.mutable_data_ptr<double>()[i] = random.Normal();
    const at::Tensor value = parameter.detach(), saved = value.clone();
    constexpr double kStep = 1e-6;
    value.copy_(saved + kStep * direction);
    const double above = value_of_loss();
    value.copy_(saved - kStep * direction);
    const double below = value_of_loss();
    value.copy_(saved);
    const double expected = (above - below) / (2 * kStep);
    const double actual = (parameter.grad() * direction).sum().item<double>();
    EXPECT_NEAR(actual, expected, 1e-6 * (1 + parameter.grad().norm().item<double>()))
        << what << ": " << name;
    EXPECT_GT(parameter.grad().norm().item<double>(), 1e-6) << what << ": " << name;
  }
}

TEST(FormulaNetwork, GradientsAgreeWithFiniteDifferencesForEverySwitch) {
  for (const auto& [name, config] : Variants())
    ExpectGradientsOfDifferences(config, Quantisers::kFrozen, name);
  for (Family family : {Family::kTritter, Family::kBitnet})
    ExpectGradientsOfDifferences(Small(family), Quantisers::kOff, "off");
}

TEST(FormulaNetwork, GradientsAgreeWithFiniteDifferencesForEveryAttentionMode) {
  for (const auto& [name, config] : Modes())
    ExpectGradientsOfDifferences(config, Quantisers::kFrozen, name);
}

TEST(FormulaNetwork, FrozenQuantisersHaveTheGradientOfTraining) {
  for (const auto& [name, config] : Variants()) {
    FormulaNetwork on(config, RandomParameters(config)),
        frozen(config, RandomParameters(config), {Quantisers::kFrozen});
    const FormulaBatch batch = Batch();
    const at::Tensor a = on.Loss(batch, Targets(batch), Weights()),
                     b = frozen.Loss(batch, Targets(batch), Weights());
    EXPECT_TRUE(a.equal(b)) << name;
    a.backward();
    b.backward();
    for (const auto& [parameter, tensor] : on.parameters())
      EXPECT_TRUE(tensor.grad().equal(frozen.parameters()[parameter].grad())) << name << parameter;
  }
}

TEST(FormulaNetwork, AWeightGetsTheGradientOfTheEffectiveWeight) {
  ModelConfig config = Small();
  FormulaNetwork network(config, RandomParameters(config));
  const at::Tensor w = network.parameters()["layers.0.attn.q.weight"];
  const at::Tensor x = at::randn({7, 8}, at::kDouble), dy = at::randn({7, 24}, at::kDouble);
  network.Linear("layers.0.attn.q", x).backward(dy);
  const at::Tensor step = x.abs().amax({-1}, true) / 127.0;
  EXPECT_LT((w.grad() - at::mm(dy.t(), (x / step).round() * step)).norm().item<double>(), 1e-12);
}

TEST(FormulaNetwork, OutputIsUnchangedWhenEveryPositionShifts) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    ModelConfig config = Small(family);
    config.activations = ActivationRule::kNone;  // a last bit must not flip a code
    FormulaNetwork network(config, RandomParameters(config));
    FormulaBatch batch = Batch();
    const at::Tensor start = network.Logits(batch);
    batch.first_position = 1000;
    EXPECT_LT((network.Logits(batch) - start).abs().max().item<double>(), 1e-9);
  }
}

TEST(FormulaNetwork, GroupedHeadsEqualDuplicatedOnes) {
  ModelConfig grouped = Small(), full = Small();
  full.kv_heads = full.heads;
  NamedTensors parameters = RandomParameters(grouped), duplicated = parameters;
  for (auto& [name, tensor] : duplicated) {
    if (!absl::StrContains(name, "attn.k.") && !absl::StrContains(name, "attn.v.")) continue;
    tensor =
        tensor.view({2, 6, 8}).repeat_interleave(2, 0).reshape({24, 8}).detach().requires_grad_();
  }
  FormulaNetwork a(grouped, parameters), b(full, duplicated);
  EXPECT_LT((a.Logits(Batch()) - b.Logits(Batch())).abs().max().item<double>(), 1e-12);
}

TEST(FormulaNetwork, NoGradientReachesTheFutureInCausalModes) {
  for (const auto& [name, config] : Modes()) {
    if (config.attention == AttentionMode::kBidirectional) continue;
    FormulaNetwork network(config, RandomParameters(config));
    FormulaBatch batch = Batch();
    batch.prefix = 0;
    const int64_t eos = kEosId;
    for (int64_t t = 0; t < kLength - 1; ++t) {
      const at::Tensor embedded = network.Embed(batch.tokens).detach().clone().requires_grad_(true);
      network.Hidden(embedded, batch)[0][t].sum().backward();
      const at::Tensor size = embedded.grad()[0].abs().amax({-1});
      EXPECT_EQ(size.narrow(0, t + 1, kLength - t - 1).max().item<double>(), 0.0) << name << t;
      EXPECT_GT(size[t].item<double>(), 1e-6) << name << t;
      EXPECT_EQ(embedded.grad()[1].abs().max().item<double>(), 0.0) << name << t;
      if (config.attention != AttentionMode::kDocument) continue;
      const int64_t* tokens = batch.tokens.data_ptr<int64_t>();
      for (int64_t s = 0; s < t; ++s) {
        if (std::find(tokens + s, tokens + t, eos) != tokens + t)
          EXPECT_EQ(size[s].item<double>(), 0.0) << "document of " << s << " seen from " << t;
      }
    }
  }
}

TEST(FormulaNetwork, LossCountsWeightsTargetsAndTheSuffix) {
  ModelConfig config = Small();
  config.attention = AttentionMode::kPrefixLm;
  FormulaNetwork network(config, RandomParameters(config), {Quantisers::kOn, false, 0.01});
  const FormulaBatch batch = Batch();
  const at::Tensor logits = network.Logits(batch), targets = Targets(batch), weights = Weights();
  double expected = 0;
  for (int64_t s = 0; s < 2; ++s) {
    for (int64_t t = kPrefix - 1; t < kLength - 1; ++t) {
      double z = 0;
      const std::vector<double> row = Values(logits[s][t]);
      for (double v : row) z += std::exp(v);
      expected += weights[s][t].item<double>() * (std::log(z) - row[targets[s][t].item<int64_t>()] +
                                                  0.01 * std::log(z) * std::log(z));
    }
  }
  EXPECT_NEAR(network.Loss(batch, targets, weights).item<double>(), expected, 1e-10);
}

TEST(FormulaNetwork, RunsInEveryFloatingType) {
  const ModelConfig config = Small();
  std::vector<float> flat(ParameterCount(config));
  Philox random(MixKey(4));
  for (float& v : flat) v = static_cast<float>(0.5 * random.Normal());
  const FormulaBatch batch = Batch();
  const auto loss = [&](at::ScalarType type, bool bf16) {
    FormulaNetwork network(config, LeafParameters(config, flat.data(), type),
                           {Quantisers::kOn, bf16});
    const at::Tensor sum = network.Loss(batch, Targets(batch), at::ones({2, kLength}, type));
    EXPECT_EQ(sum.scalar_type(), type);
    sum.backward();
    EXPECT_EQ(network.parameters()["layers.1.ffn.up.weight"].grad().scalar_type(), type);
    return sum.item<double>();
  };
  const double exact = loss(at::kDouble, false);
  EXPECT_NEAR(loss(at::kFloat, false), exact, 1e-3 * exact);
  EXPECT_NEAR(loss(at::kFloat, true), exact, 5e-2 * exact);
}

}  // namespace
}  // namespace tritter
