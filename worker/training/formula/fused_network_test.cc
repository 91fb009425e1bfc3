// The fused form with the plain kernels against the formulas: loss and every gradient of every
// switch and attention mode.
#include "worker/training/formula/fused_network.h"

#include <ATen/ATen.h>

#include "gtest/gtest.h"
#include "worker/training/formula/formula_cases.h"

namespace tritter {
namespace {

// The parameters of a formula network in flat arrays, and the fused network over them.
class Fused {
 public:
  Fused(const ModelConfig& config, const NamedTensors& parameters, int64_t chunk_floats = 64)
      : store_(ParameterStore::TableOnly(config)) {
    std::vector<at::Tensor> parts;
    for (const ParameterSlot& slot : store_.slots())
      parts.push_back(parameters.at(slot.spec.name).detach().reshape({-1}));
    weight = at::cat(parts).to(at::kFloat);
    gradient = at::zeros_like(weight);
    network = std::make_unique<FusedNetwork>(
        config, FusedNetwork::Options{&kernels_, &store_.slots(), weight, gradient, at::kFloat,
                                      0.01, chunk_floats});
  }
  // Forward and backward of sequences [first, first + count); the loss.
  double Run(FormulaBatch batch, int64_t first = 0, int64_t count = 2) {
    const at::Tensor targets = CaseTargets(batch).narrow(0, first, count).reshape({-1}),
                     weights = CaseWeights().to(at::kFloat).narrow(0, first, count).reshape({-1});
    batch.tokens = batch.tokens.narrow(0, first, count);
    network->BeginMicroBatch(first == 0, first + count == 2);
    const at::Tensor hidden = network->Hidden(network->Embed(batch.tokens), batch);
    const FusedNetwork::LossResult loss = network->Loss(hidden, targets, weights, 1.0);
    hidden.backward(loss.hidden_gradient);
    return loss.loss.item<double>();
  }
  at::Tensor Of(const at::Tensor& flat, const std::string& name) const {
    const ParameterSlot& slot = **store_.Find(name);
    return flat.narrow(0, slot.offset, slot.size).view(slot.spec.shape);
  }

  at::Tensor weight, gradient;
  std::unique_ptr<FusedNetwork> network;

 private:
  const ParameterStore store_;
  const TensorKernels kernels_;
};

double Difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / (b.norm() + 1e-3)).item<double>();
}

// Rounding in FP32 may flip an activation code here and there; without codes nothing jumps.
void ExpectFormulas(const ModelConfig& config, const std::string& name) {
  const bool codes =
      config.weight_rule != WeightRule::kNone && config.activations == ActivationRule::kInt8;
  const double tolerance = codes ? 3e-2 : 1e-4;
  FormulaBatch batch = CaseBatch();
  batch.prefix = 0;  // the suffix is the caller's business
  FormulaNetwork formula(config, CaseParameters(config), {Quantisers::kOn, false, 0.01});
  const at::Tensor loss = formula.Loss(batch, CaseTargets(batch), CaseWeights());
  loss.backward();
  Fused fused(config, formula.parameters());
  EXPECT_NEAR(fused.Run(batch), loss.item<double>(), tolerance * loss.item<double>()) << name;
  for (const auto& [parameter, tensor] : formula.parameters()) {
    EXPECT_LT(Difference(fused.Of(fused.gradient, parameter), tensor.grad()), tolerance)
        << name << ": " << parameter;
  }
}

TEST(FusedNetwork, LossAndGradientsAreThoseOfTheFormulasForEverySwitch) {
  for (auto [name, config] : SwitchCases()) {
    ExpectFormulas(config, name);
    config.activations = ActivationRule::kNone;
    ExpectFormulas(config, name + ", activations none");
  }
}

TEST(FusedNetwork, LossAndGradientsAreThoseOfTheFormulasForEveryAttentionMode) {
  for (auto [name, config] : AttentionCases()) {
    config.activations = ActivationRule::kNone;
    ExpectFormulas(config, name);
  }
}

TEST(FusedNetwork, MicroBatchesAddUp) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    const ModelConfig config = SmallModel(family);
    const NamedTensors parameters = CaseParameters(config);
    const FormulaBatch batch = CaseBatch();
    Fused whole(config, parameters), parts(config, parameters, 1 << 20);
    const double loss = whole.Run(batch);
    EXPECT_NEAR(parts.Run(batch, 0, 1) + parts.Run(batch, 1, 1), loss, 1e-5 * loss);
    EXPECT_LT(Difference(parts.gradient, whole.gradient), 1e-5);
  }
}

TEST(FusedNetwork, OutputFollowsAWeightChangedInPlace) {
  const ModelConfig config = SmallModel();
  const NamedTensors parameters = CaseParameters(config), others = CaseParameters(config, 2);
  const FormulaBatch batch = CaseBatch();
  Fused changed(config, parameters), fresh(config, others);
  const double before = changed.Run(batch);
  changed.weight.copy_(fresh.weight);
  changed.network->MarkChanged();
  const double after = changed.Run(batch);
  EXPECT_NE(after, before);
  EXPECT_EQ(after, fresh.Run(batch));
}

TEST(FusedNetwork, TellsOfEveryMatrixOnceInTheLastMicroBatch) {
  const ModelConfig config = SmallModel();
  Fused fused(config, CaseParameters(config));
  std::vector<std::string> told;
  fused.network->set_ready([&](const ParameterSlot& slot) { told.push_back(slot.spec.name); });
  fused.Run(CaseBatch(), 0, 1);
  EXPECT_TRUE(told.empty());
  fused.Run(CaseBatch(), 1, 1);
  EXPECT_EQ(told.size(), 15u);  // head, seven of each of two layers
  EXPECT_EQ(told.front(), "head.weight");
}

TEST(FusedNetwork, HeadGivesTheLogitsOfTheFormulas) {
  for (auto [name, config] : SwitchCases()) {
    config.activations = ActivationRule::kNone;
    FormulaNetwork formula(config, CaseParameters(config));
    Fused fused(config, formula.parameters());
    const FormulaBatch batch = CaseBatch();
    const at::Tensor logits =
        fused.network->Head(fused.network->Hidden(fused.network->Embed(batch.tokens), batch));
    EXPECT_LT(Difference(logits, formula.Logits(batch)), 1e-4) << name;
  }
}

}  // namespace
}  // namespace tritter
