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
#include "worker/training/formula/formula_cases.h"
#include "worker/training/formula/loop_model.h"

namespace tritter {
namespace {

std::vector<double> Values(const at::Tensor& t) {
  const at::Tensor flat = t.detach().contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

void ExpectLoopLogits(const ModelConfig& config, FormulaBatch batch, const std::string& what) {
  FormulaNetwork network(config, CaseParameters(config));
  LoopParameters values;
  for (const auto& [name, tensor] : network.parameters()) values[name] = Values(tensor);
  const at::Tensor logits = network.Logits(batch);
  for (int64_t s = 0; s < batch.tokens.size(0); ++s) {
    const int64_t* tokens = batch.tokens.data_ptr<int64_t>() + s * kCaseLength;
    const auto expected = LoopLogits(config, values, {tokens, tokens + kCaseLength},
                                     batch.first_position, batch.prefix);
    for (int64_t t = 0; t < kCaseLength; ++t) {
      const std::vector<double> row = Values(logits[s][t]);
      for (int64_t v = 0; v < config.vocab; ++v)
        ASSERT_NEAR(row[v], expected[t][v], 1e-10) << what << ": " << s << " " << t << " " << v;
    }
  }
}

TEST(FormulaNetwork, LogitsAreThoseOfPlainLoopsForEverySwitch) {
  for (const auto& [name, config] : SwitchCases()) ExpectLoopLogits(config, CaseBatch(), name);
}

TEST(FormulaNetwork, LogitsAreThoseOfPlainLoopsForEveryAttentionMode) {
  FormulaBatch batch = CaseBatch();
  batch.first_position = 17;
  for (const auto& [name, config] : AttentionCases()) ExpectLoopLogits(config, batch, name);
}

TEST(FormulaNetwork, MasksAreThoseOfTheRules) {
  const FormulaBatch batch = CaseBatch();
  for (const auto& [name, config] : AttentionCases()) {
    const at::Tensor visible = VisibleKeys(config, batch).expand({2, kCaseLength, kCaseLength});
    for (int64_t s = 0; s < 2; ++s) {
      const int64_t* tokens = batch.tokens.data_ptr<int64_t>() + s * kCaseLength;
      for (int64_t q = 0; q < kCaseLength; ++q) {
        for (int64_t k = 0; k < kCaseLength; ++k) {
          EXPECT_EQ(visible[s][q][k].item<bool>(),
                    LoopSees(config, {tokens, tokens + kCaseLength}, kCasePrefix, q, k))
              << name << ": " << s << " " << q << " " << k;
        }
      }
    }
  }
}

// Central differences along a random direction of every parameter.
void ExpectGradientsOfDifferences(const ModelConfig& config, Quantisers quantisers,
                                  const std::string& what) {
  FormulaNetwork network(config, CaseParameters(config), {quantisers, false, 0.05});
  const FormulaBatch batch = CaseBatch();
  const auto loss = [&] { return network.Loss(batch, CaseTargets(batch), CaseWeights()); };
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
  for (const auto& [name, config] : SwitchCases())
    ExpectGradientsOfDifferences(config, Quantisers::kFrozen, name);
  for (Family family : {Family::kTritter, Family::kBitnet})
    ExpectGradientsOfDifferences(SmallModel(family), Quantisers::kOff, "off");
}

TEST(FormulaNetwork, GradientsAgreeWithFiniteDifferencesForEveryAttentionMode) {
  for (const auto& [name, config] : AttentionCases())
    ExpectGradientsOfDifferences(config, Quantisers::kFrozen, name);
}

TEST(FormulaNetwork, FrozenQuantisersHaveTheGradientOfTraining) {
  for (const auto& [name, config] : SwitchCases()) {
    FormulaNetwork on(config, CaseParameters(config)),
        frozen(config, CaseParameters(config), {Quantisers::kFrozen});
    const FormulaBatch batch = CaseBatch();
    const at::Tensor a = on.Loss(batch, CaseTargets(batch), CaseWeights()),
                     b = frozen.Loss(batch, CaseTargets(batch), CaseWeights());
    EXPECT_TRUE(a.equal(b)) << name;
    a.backward();
    b.backward();
    for (const auto& [parameter, tensor] : on.parameters())
      EXPECT_TRUE(tensor.grad().equal(frozen.parameters()[parameter].grad())) << name << parameter;
  }
}

TEST(FormulaNetwork, AWeightGetsTheGradientOfTheEffectiveWeight) {
  ModelConfig config = SmallModel();
  FormulaNetwork network(config, CaseParameters(config));
  const at::Tensor w = network.parameters()["layers.0.attn.q.weight"];
  const at::Tensor x = at::randn({7, 8}, at::kDouble), dy = at::randn({7, 24}, at::kDouble);
  network.Linear("layers.0.attn.q", x).backward(dy);
  const at::Tensor step = x.abs().amax({-1}, true) / 127.0;
  EXPECT_LT((w.grad() - at::mm(dy.t(), (x / step).round() * step)).norm().item<double>(), 1e-12);
}

TEST(FormulaNetwork, OutputIsUnchangedWhenEveryPositionShifts) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    ModelConfig config = SmallModel(family);
    config.activations = ActivationRule::kNone;  // a last bit must not flip a code
    FormulaNetwork network(config, CaseParameters(config));
    FormulaBatch batch = CaseBatch();
    const at::Tensor start = network.Logits(batch);
    batch.first_position = 1000;
    EXPECT_LT((network.Logits(batch) - start).abs().max().item<double>(), 1e-9);
  }
}

TEST(FormulaNetwork, GroupedHeadsEqualDuplicatedOnes) {
  ModelConfig grouped = SmallModel(), full = SmallModel();
  full.kv_heads = full.heads;
  NamedTensors parameters = CaseParameters(grouped), duplicated = parameters;
  for (auto& [name, tensor] : duplicated) {
    if (!absl::StrContains(name, "attn.k.") && !absl::StrContains(name, "attn.v.")) continue;
    tensor =
        tensor.view({2, 6, 8}).repeat_interleave(2, 0).reshape({24, 8}).detach().requires_grad_();
  }
  FormulaNetwork a(grouped, parameters), b(full, duplicated);
  EXPECT_LT((a.Logits(CaseBatch()) - b.Logits(CaseBatch())).abs().max().item<double>(), 1e-12);
}

TEST(FormulaNetwork, NoGradientReachesTheFutureInCausalModes) {
  for (const auto& [name, config] : AttentionCases()) {
    if (config.attention == AttentionMode::kBidirectional) continue;
    FormulaNetwork network(config, CaseParameters(config));
    FormulaBatch batch = CaseBatch();
    batch.prefix = 0;
    const int64_t eos = kEosId;
    for (int64_t t = 0; t < kCaseLength - 1; ++t) {
      const at::Tensor embedded = network.Embed(batch.tokens).detach().clone().requires_grad_(true);
      network.Hidden(embedded, batch)[0][t].sum().backward();
      const at::Tensor size = embedded.grad()[0].abs().amax({-1});
      EXPECT_EQ(size.narrow(0, t + 1, kCaseLength - t - 1).max().item<double>(), 0.0) << name << t;
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
  ModelConfig config = SmallModel();
  config.attention = AttentionMode::kPrefixLm;
  FormulaNetwork network(config, CaseParameters(config), {Quantisers::kOn, false, 0.01});
  const FormulaBatch batch = CaseBatch();
  const at::Tensor logits = network.Logits(batch), targets = CaseTargets(batch),
                   weights = CaseWeights();
  double expected = 0;
  for (int64_t s = 0; s < 2; ++s) {
    for (int64_t t = kCasePrefix - 1; t < kCaseLength - 1; ++t) {
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
  const ModelConfig config = SmallModel();
  std::vector<float> flat(ParameterCount(config));
  Philox random(MixKey(4));
  for (float& v : flat) v = static_cast<float>(0.5 * random.Normal());
  const FormulaBatch batch = CaseBatch();
  const auto loss = [&](at::ScalarType type, bool bf16) {
    FormulaNetwork network(config, LeafParameters(config, flat.data(), type),
                           {Quantisers::kOn, bf16});
    const at::Tensor sum =
        network.Loss(batch, CaseTargets(batch), at::ones({2, kCaseLength}, type));
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
