// The fused form with the plain kernels against the formulas: loss and every gradient of every
// switch and attention mode.
#include "worker/training/formula/fused_network.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <set>

#include "gtest/gtest.h"
#include "worker/training/attention_rule.h"
#include "worker/training/formula/formula_cases.h"

namespace tritter {
namespace {

// Which targets prefix_lm leaves out is the caller's business.
at::Tensor CountedTargets(const ModelConfig& config, const FormulaBatch& batch) {
  at::Tensor targets = CaseTargets(batch);
  if (config.attention == AttentionMode::kPrefixLm)
    targets.narrow(1, 0, batch.prefix - 1).fill_(-1);
  return targets;
}

// The parameters of a formula network in flat arrays, and the fused network over them.
class Fused {
 public:
  Fused(const ModelConfig& config, const NamedTensors& parameters, int64_t chunk_floats = 64,
        int64_t query_block = 4, int64_t recompute_layers = 0)
      : config_(config), store_(ParameterStore::TableOnly(config)) {
    std::vector<at::Tensor> parts;
    for (const ParameterSlot& slot : store_.slots())
      parts.push_back(parameters.at(slot.spec.name).detach().reshape({-1}));
    weight = at::cat(parts).to(at::kFloat);
    gradient = at::zeros_like(weight);
    network = std::make_unique<FusedNetwork>(
        config, FusedNetwork::Options{&kernels_, &store_.slots(), weight, gradient, at::kFloat,
                                      0.01, chunk_floats, query_block, recompute_layers});
  }
  // Forward and backward of sequences [first, first + count); the loss.
  double Run(FormulaBatch batch, int64_t first = 0, int64_t count = 2) {
    const at::Tensor targets = CountedTargets(config_, batch).narrow(0, first, count).reshape({-1}),
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
  const ModelConfig config_;
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
  const FormulaBatch batch = CaseBatch();
  FormulaNetwork formula(config, CaseParameters(config), {Quantisers::kOn, false, 0.01});
  const at::Tensor loss = formula.Loss(batch, CountedTargets(config, batch), CaseWeights());
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

// Who sees whom, put together from the tiles: [B or 1, L, L].
at::Tensor SeenInTiles(const std::vector<AttentionTile>& tiles, int64_t sequences, int64_t length) {
  at::Tensor seen = at::zeros({sequences, length, length}, at::kBool);
  for (const AttentionTile& tile : tiles) {
    const at::Tensor rows = seen.narrow(1, tile.query, tile.queries);
    const int64_t near = tile.key_end - tile.key_begin;
    const at::Tensor visible = tile.mask.defined()
                                   ? (tile.mask == 0).squeeze(1)
                                   : at::ones({sequences, tile.queries, near}, at::kBool);
    rows.narrow(2, tile.key_begin, near).copy_(visible.narrow(2, tile.sinks, near));
    if (tile.sinks > 0) rows.narrow(2, 0, tile.sinks).copy_(visible.narrow(2, 0, tile.sinks));
  }
  return seen;
}

TEST(AttentionTiles, TogetherTheyAreTheWholeMask) {
  constexpr int64_t kLength = 100;
  at::manual_seed(3);
  FormulaBatch batch{at::randint(12, {2, kLength}), 0, 37};
  std::vector<std::pair<std::string, ModelConfig>> cases = AttentionCases();
  for (auto& [name, config] : AttentionCases()) {
    config.window = config.window > 0 ? 20 : 0;
    config.sinks = config.sinks > 0 ? 5 : 0;
    cases.emplace_back(name + ", wide", config);
  }
  for (const auto& [name, config] : cases) {
    const std::vector<int32_t> starts = DocumentStarts(
        config, absl::MakeConstSpan(batch.tokens.data_ptr<int64_t>(), 2 * kLength), kLength);
    std::vector<AttentionMask> masks;
    for (int64_t s = 0; s < (starts.empty() ? 1 : 2); ++s) {
      masks.push_back(MaskOf(config, kLength, starts.data() + s * kLength));
      if (config.attention == AttentionMode::kPrefixLm) masks.back().prefix = batch.prefix;
    }
    for (int64_t block : {1, 8, 16, 64, 256}) {
      const auto tiles = AttentionTiles(masks, block, at::kFloat);
      EXPECT_TRUE(SeenInTiles(tiles, static_cast<int64_t>(masks.size()), kLength)
                      .equal(VisibleKeys(config, batch)))
          << name << ", blocks of " << block;
    }
  }
}

TEST(AttentionTiles, MasksOfAWindowTakeNoMoreMemoryForALongerSequence) {
  int64_t shorter = 0;
  for (int64_t length : {4096, 16384}) {
    AttentionMask mask{.length = length, .window = 300, .sinks = 4};
    std::set<void*> seen;
    int64_t values = 0;
    for (const AttentionTile& tile : AttentionTiles({mask}, 256, at::kFloat)) {
      EXPECT_LE(tile.mask.numel(), 256 * (256 + 300 + 3 * 16));
      if (seen.insert(tile.mask.data_ptr()).second) values += tile.mask.numel();
    }
    if (shorter > 0) EXPECT_EQ(values, shorter);
    shorter = values;
  }
}

// The largest tensor that any operation of LibTorch returns meanwhile, backward included.
class LargestTensor {
 public:
  LargestTensor() {
    largest_ = 0;
    handle_ = at::addGlobalCallback(
        at::RecordFunctionCallback(&Begin, &End)
            .needsOutputs(true)
            .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  }
  ~LargestTensor() { at::removeCallback(handle_); }
  int64_t numel() const { return largest_; }

 private:
  static std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction&) { return nullptr; }
  static void End(const at::RecordFunction& function, at::ObserverContext*) {
    for (const c10::IValue& output : function.outputs()) {
      if (output.isTensor() && output.toTensor().defined())
        largest_ = std::max(largest_, output.toTensor().numel());
    }
  }
  static inline int64_t largest_ = 0;
  at::CallbackHandle handle_;
};

TEST(FusedNetwork, NoTensorIsAsLargeAsAllOfAttention) {
  constexpr int64_t kLength = 1024;
  for (auto [name, config] : AttentionCases()) {
    if (config.attention == AttentionMode::kCausal ||
        config.attention == AttentionMode::kEmbedding) {
      continue;  // LibTorch's own kernel
    }
    if (config.window > 0) config.window = 40;
    config.context = kLength;
    config.layers = 1;
    config.heads = config.kv_heads = 1;
    at::manual_seed(5);
    const at::Tensor tokens = at::randint(13, {1, kLength});
    Fused fused(config, CaseParameters(config), 64, 32);
    const LargestTensor largest;
    const FormulaBatch batch = {tokens, 0, 300};
    const at::Tensor hidden = fused.network->Hidden(fused.network->Embed(tokens), batch);
    hidden.backward(at::ones_like(hidden));
    EXPECT_GT(largest.numel(), kLength) << name;
    EXPECT_LT(largest.numel(), kLength * kLength / 8) << name;
  }
}

TEST(FusedNetwork, RecomputedLayersGiveTheSameBits) {
  for (auto [name, config] : AttentionCases()) {
    config.layers = 3;
    config.norm = NormKind::kLayerNorm;  // its weights and the biases are autograd's own leaves
    config.bias = true;
    const NamedTensors parameters = CaseParameters(config);
    Fused kept(config, parameters), again(config, parameters, 64, 4, 2);
    EXPECT_EQ(again.Run(CaseBatch(), 0, 1), kept.Run(CaseBatch(), 0, 1)) << name;
    EXPECT_EQ(again.Run(CaseBatch(), 1, 1), kept.Run(CaseBatch(), 1, 1)) << name;
    EXPECT_TRUE(again.gradient.equal(kept.gradient)) << name;
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
