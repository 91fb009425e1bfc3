// The network against the formulas in FP64, and the sanity figures of the specification.
#include "worker/training/network.h"

#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/tiny_model.h"
#include "worker/training/formula/formula_network.h"
#include "worker/training/serving_forward.h"

namespace tritter {
namespace {

TEST(BitLinear, ForwardAndGradientsAreThoseOfThePlainFormula) {
  TinyNetwork net(TinyModel());
  const LinearRequest request{{"layers.0.ffn.gate.weight", "layers.0.ffn.up.weight"}};
  ASSERT_OK_AND_ASSIGN(auto layer, BitLinear::Create(net.context, request));
  at::manual_seed(3);
  at::Tensor x = at::randn({37, 32}).requires_grad_(true),
             plain_x = x.detach().clone().requires_grad_(true);
  const at::Tensor dy = at::randn({37, 96});
  std::vector<at::Tensor> w;
  for (const std::string& name : request.names)
    w.push_back(net.Weight(name).clone().requires_grad_(true));

  const at::Tensor y = layer->Forward(x);
  y.backward(dy);
  const at::Tensor plain =
      at::cat({PlainBitLinear(plain_x, w[0]), PlainBitLinear(plain_x, w[1])}, 1);
  plain.backward(dy);

  EXPECT_LT(RelativeError(y, plain), 1e-6);
  EXPECT_LT(RelativeError(x.grad(), plain_x.grad()), 1e-6);
  for (int i = 0; i < 2; ++i)
    EXPECT_LT(RelativeError(net.Gradient(request.names[i]), w[i].grad()), 1e-6);
}

TEST(BitLinear, OutputFollowsAWeightChangedInPlace) {
  TinyNetwork net(TinyModel());
  ASSERT_OK_AND_ASSIGN(auto layer, BitLinear::Create(net.context, {{"layers.0.attn.o.weight"}}));
  const at::Tensor x = at::ones({3, 32});
  const at::Tensor before = layer->Forward(x).clone();
  EXPECT_TRUE(layer->Forward(x).equal(before));
  net.Weight("layers.0.attn.o.weight").neg_();
  EXPECT_TRUE(layer->Forward(x).equal(-before));
}

// Between two optimiser steps nothing looks at the weights again: what is written behind the
// store's back is not seen by any pass until somebody asks it for the weights to write.
TEST(BitLinear, CodesAreMadeOnceForAllPassesBetweenTwoChanges) {
  TinyNetwork net(TinyModel());
  ASSERT_OK_AND_ASSIGN(auto layer, BitLinear::Create(net.context, {{"layers.0.attn.o.weight"}}));
  at::Tensor hidden_write = net.Weight("layers.0.attn.o.weight");
  std::vector<at::Tensor> outputs, gradients;
  for (int micro_batch = 0; micro_batch < 3; ++micro_batch) {
    const at::Tensor x = at::ones({3, 32}).requires_grad_(true);
    outputs.push_back(layer->Forward(x));
    hidden_write.neg_();
    net.sink.BeginMicroBatch(micro_batch == 0, false);
    outputs.back().backward(at::ones({3, 32}));
    gradients.push_back(x.grad());
    EXPECT_TRUE(outputs.back().equal(outputs[0])) << micro_batch;
    EXPECT_TRUE(gradients.back().equal(gradients[0])) << micro_batch;
  }
  net.parameters.MutableWeights();  // negated three times by now
  EXPECT_TRUE(layer->Forward(at::ones({3, 32})).equal(-outputs[0]));
}

TEST(BitLinear, OutputOfATokenDoesNotDependOnTheOthers) {
  TinyNetwork net(TinyModel());
  ASSERT_OK_AND_ASSIGN(auto layer, BitLinear::Create(net.context, {{"layers.1.ffn.down.weight"}}));
  const at::Tensor x = at::randn({40, 48});
  const at::Tensor all = layer->Forward(x);
  for (int64_t count : {1, 3, 17})
    EXPECT_TRUE(layer->Forward(x.narrow(0, 5, count).contiguous()).equal(all.narrow(0, 5, count)));
}

struct Case {
  std::string name;
  ModelConfig config;
};

// Both families with every combination of the switches that make another network.
std::vector<Case> SwitchCases() {
  std::vector<Case> cases;
  for (int bits = 0; bits < 64; ++bits) {
    ModelConfig config = TinyModel(bits & 1 ? Family::kBitnet : Family::kTritter);
    config.norm = bits & 2 ? NormKind::kLayerNorm : NormKind::kRmsNorm;
    config.bias = bits & 4;
    config.tied_embeddings = bits & 8;
    config.granularity = bits & 16 ? ScaleGranularity::kTensor : ScaleGranularity::kRow;
    config.lm_head_ternary = bits & 32;
    cases.push_back({"", config});
  }
  // The quantisers of both families, one by one and none.
  for (const Family family : {Family::kTritter, Family::kBitnet}) {
    for (const WeightRule rule :
         {WeightRule::kAbsMean, WeightRule::kThreshold, WeightRule::kNone}) {
      for (const ActivationRule activations : {ActivationRule::kInt8, ActivationRule::kNone}) {
        ModelConfig config = TinyModel(family);
        config.weight_rule = rule;
        config.activations = activations;
        cases.push_back({"", config});
        config.granularity = config.granularity == ScaleGranularity::kRow
                                 ? ScaleGranularity::kTensor
                                 : ScaleGranularity::kRow;
        cases.push_back({"", config});
      }
    }
  }
  const auto impossible = [](const Case& c) { return !ValidateConfig(c.config).ok(); };
  cases.erase(std::remove_if(cases.begin(), cases.end(), impossible), cases.end());
  for (Case& c : cases)
    c.name = absl::StrReplaceAll(ModelConfigToYaml(c.config, 0), {{"\n", ", "}});
  return cases;
}

// Norms, biases and heads away from where they start, so that every term of the formulas counts.
void Unsettle(TinyNetwork* net) {
  at::manual_seed(11);
  for (const ParameterSlot& slot : net->parameters.slots()) {
    at::Tensor w = net->Weight(slot.spec.name);
    if (slot.spec.kind == ParameterKind::kNorm) w.uniform_(0.5, 1.5);
    if (slot.spec.kind == ParameterKind::kBias) w.normal_(0, 0.3);
    if (slot.spec.kind == ParameterKind::kHead) w.mul_(50.0);
    if (slot.spec.kind == ParameterKind::kEmbedding && net->config.tied_embeddings) w.mul_(5.0);
  }
}

// Largest ‖fast - formula‖ / ‖formula‖ that the loss, the logits and any parameter's gradient may
// show.
struct Tolerance {
  double loss, gradient, logits;
};

void ExpectTheFormulas(const Case& c, const Tolerance& tolerance,
                       const NextTokenOptions& options = {}) {
  constexpr int64_t kSequences = 3, kLength = 16;
  TinyNetwork net(c.config, 1, GemmType::kFp32, options);
  Unsettle(&net);
  const std::vector<int64_t> tokens = TinyTokens(1, kSequences * (kLength + 1));
  const at::Tensor grid = at::tensor(at::ArrayRef<int64_t>(tokens)).view({kSequences, kLength + 1});
  const at::Tensor input = grid.narrow(1, 0, kLength).contiguous(),
                   target = grid.narrow(1, 1, kLength).contiguous();
  const auto values = [](const at::Tensor& t) {
    return std::vector<int64_t>(t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + t.numel());
  };
  FormulaOptions formula_options;
  formula_options.z_loss = options.z_loss;
  FormulaNetwork formula(c.config, LeafParameters(c.config, net.parameters.weight(), at::kDouble),
                         formula_options);
  const at::Tensor want =
      formula.Loss({input}, target, at::ones(target.sizes(), at::kDouble)) / target.numel();
  want.backward();

  net.sink.BeginMicroBatch(true, true);
  const at::Tensor embedded = net.network->Embed(values(input));
  const at::Tensor hidden = net.network->Forward(embedded, {kSequences, kLength});
  const std::vector<float> ones(target.numel(), 1.0f);
  const LossResult loss = net.loss->Compute(hidden.detach(), values(target), ones,
                                            1.0f / static_cast<float>(target.numel()));
  hidden.backward(loss.hidden_gradient);
  net.network->CommitEmbeddingGradient(embedded.grad(), values(input));
  EXPECT_NEAR(loss.loss / static_cast<double>(target.numel()), want.item<double>(),
              tolerance.loss * want.item<double>())
      << c.name;
  for (const ParameterSlot& slot : net.parameters.slots()) {
    const at::Tensor& gradient = formula.parameters().at(slot.spec.name).grad();
    EXPECT_GT(gradient.norm().item<double>(), 1e-6) << slot.spec.name << " of " << c.name;
    EXPECT_LT(RelativeError(net.Gradient(slot.spec.name), gradient), tolerance.gradient)
        << slot.spec.name << " of " << c.name;
  }

  // Evaluation, which takes the arithmetic of serving.
  ServingForward serving(c.config, net.parameters, net.parameters.weight(), &net.parallel);
  ASSERT_OK_AND_ASSIGN(std::vector<float> logits, serving.Logits(values(input[0])));
  const at::Tensor want_logits = formula.Logits({input.narrow(0, 0, 1)}).view({kLength, -1});
  EXPECT_LT(RelativeError(at::from_blob(logits.data(), want_logits.sizes()), want_logits),
            tolerance.logits)
      << c.name;
}

// Rounding in the last bit may flip an activation code here and there: where activations have codes
// (not with rule none, which quantises nothing) the bounds leave room for a few of those.
TEST(Network, LossAndGradientsAreThoseOfTheFormulasForEverySwitch) {
  const std::vector<Case> cases = SwitchCases();
  EXPECT_EQ(cases.size(), 60u);
  for (const Case& c : cases) {
    const bool codes =
        c.config.activations == ActivationRule::kInt8 && c.config.weight_rule != WeightRule::kNone;
    ExpectTheFormulas(c, codes ? Tolerance{2e-3, 3e-2, 1e-2} : Tolerance{1e-6, 1e-4, 1e-5});
  }
}

// 48 tokens in chunks of 20: two whole ones and a rest, every head, with z-loss.
TEST(Network, LossAndGradientsInChunksAreThoseOfTheFormulas) {
  for (const auto& [tied, ternary] :
       std::vector<std::pair<bool, bool>>{{false, false}, {true, false}, {false, true}}) {
    ModelConfig config = TinyModel();
    config.activations = ActivationRule::kNone;
    config.tied_embeddings = tied;
    config.lm_head_ternary = ternary;
    const NextTokenOptions chunks{
        .z_loss = 0.1, .chunk_floats = 20 * config.vocab, .least_chunk_tokens = 1};
    ExpectTheFormulas({absl::StrCat("tied ", tied, ", ternary ", ternary), config},
                      {1e-6, 1e-4, 1e-5}, chunks);
  }
}

TEST(Network, NoGradientReachesTheFuture) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    TinyNetwork net(TinyModel(family));
    const std::vector<int64_t> tokens = TinyTokens(2, 32);
    for (int64_t t : {0, 7, 14}) {
      const at::Tensor embedded = net.network->Embed(tokens);
      const at::Tensor hidden = net.network->Forward(embedded, {2, 16});
      at::Tensor gradient = at::zeros_like(hidden);
      gradient[t].normal_();
      hidden.backward(gradient);
      EXPECT_GT(embedded.grad().narrow(0, 0, t + 1).abs().max().item<float>(), 1e-4);
      EXPECT_EQ(embedded.grad().narrow(0, t + 1, 32 - t - 1).abs().max().item<float>(), 0.0f)
          << FamilyName(family) << " " << t;
    }
  }
}

TEST(Network, IsUnchangedWhenEveryPositionShifts) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    ModelConfig config = TinyModel(family);
    config.activations = ActivationRule::kNone;  // a last bit must not flip a code
    TinyNetwork net(config);
    Unsettle(&net);
    const at::Tensor embedded = net.network->Embed(TinyTokens(2, 32));
    const at::Tensor start = net.network->Forward(embedded, {2, 16}).detach(),
                     shifted = net.network->Forward(embedded, {2, 16}, 1000).detach();
    EXPECT_LT(RelativeError(shifted, start), 1e-5) << FamilyName(family);
    EXPECT_FALSE(shifted.equal(start));
  }
}

TEST(Network, GroupedHeadsEqualDuplicatedOnes) {
  for (Family family : {Family::kTritter, Family::kBitnet}) {
    for (int64_t kv_heads : {1, 2}) {
      ModelConfig few = TinyModel(family), all = few;
      few.kv_heads = kv_heads;
      all.kv_heads = all.heads;
      TinyNetwork grouped(few), full(all);
      for (const ParameterSlot& slot : full.parameters.slots()) {
        at::Tensor w = full.Weight(slot.spec.name), from = grouped.Weight(slot.spec.name);
        if (w.sizes() == from.sizes()) {
          w.copy_(from);
        } else {  // the rows of k or v, a block of D for each head
          const at::Tensor heads = from.view({kv_heads, few.head_dim, few.hidden});
          w.copy_(heads.repeat_interleave(few.heads / kv_heads, 0).view(w.sizes()));
        }
      }
      const std::vector<int64_t> tokens = TinyTokens(2, 32);
      const at::Tensor a = grouped.network->Forward(grouped.network->Embed(tokens), {2, 16}),
                       b = full.network->Forward(full.network->Embed(tokens), {2, 16});
      EXPECT_LT(RelativeError(b, a), 1e-6) << FamilyName(family) << " " << kv_heads;
    }
  }
}

// Every preset in both families, built without its memory: each matrix is asked for once, in the
// groups that share an input, with the shapes of the specification.
TEST(Network, EveryPresetCanBeBuilt) {
  for (const std::string& preset : PresetNames()) {
    for (Family family : {Family::kTritter, Family::kBitnet}) {
      ASSERT_OK_AND_ASSIGN(ModelConfig config, PresetConfig(preset));
      ApplyFamilyDefaults(family, &config);
      ASSERT_OK(ValidateConfig(config));
      ParameterStore table = ParameterStore::TableOnly(config);
      EXPECT_EQ(table.slots().back().offset + table.slots().back().size, ParameterCount(config));
      const LayerContext context{&config, &table, nullptr, nullptr};
      std::vector<std::vector<int64_t>> shapes;
      const LinearFactory recorder = [&](const LinearRequest& request) {
        shapes.push_back(table.FindAdjacent(request.names)->spec.shape);
        return BitLinear::Create(context, request);
      };
      ASSERT_OK(Network::Create(context, recorder).status()) << preset;
      ASSERT_OK(NextTokenLoss(context, recorder).status()) << preset;
      const int64_t h = config.hidden, query = config.heads * config.head_dim,
                    keys = config.kv_heads * config.head_dim;
      std::vector<std::vector<int64_t>> expected;
      for (int64_t layer = 0; layer < config.layers; ++layer) {
        expected.push_back({query + 2 * keys, h});
        expected.push_back({h, query});
        expected.push_back({2 * config.ffn, h});
        expected.push_back({h, config.ffn});
      }
      EXPECT_EQ(shapes, expected) << preset << " " << FamilyName(family);
    }
  }
}

AttentionSlots SlotsOf(const TinyNetwork& net) {
  return {*FindNorm(net.parameters, net.config.norm, "layers.0.attn.q_norm"),
          *FindNorm(net.parameters, net.config.norm, "layers.0.attn.k_norm")};
}

TEST(Attention, IsUnchangedWhenEveryPositionShifts) {
  TinyNetwork net(TinyModel());
  net.Weight("layers.0.attn.q_norm.weight").copy_(at::rand({8}) + 0.5);
  net.Weight("layers.0.attn.k_norm.weight").copy_(at::rand({8}) + 0.5);
  const AttentionSlots slots = SlotsOf(net);
  const RopeTables start = MakeRopeTables(net.config, 0, 16),
                   shifted = MakeRopeTables(net.config, 1000, 16);
  const at::Tensor qkv = at::randn({32, 64});
  const at::Tensor a = Attention(net.context, slots, start, {2, 16}, qkv);
  const at::Tensor b = Attention(net.context, slots, shifted, {2, 16}, qkv);
  EXPECT_LT(RelativeError(b, a), 1e-5);
}

TEST(Attention, GroupedHeadsEqualDuplicatedOnes) {
  TinyNetwork grouped(TinyModel());
  ModelConfig all = TinyModel();
  all.kv_heads = 4;
  TinyNetwork full(all);
  const AttentionSlots slots = SlotsOf(grouped), full_slots = SlotsOf(full);
  const RopeTables rope = MakeRopeTables(all, 0, 16);
  const at::Tensor q = at::randn({32, 32}), k = at::randn({32, 2, 8}), v = at::randn({32, 2, 8});
  const auto twice = [](const at::Tensor& x) {
    return x.repeat_interleave(2, 1).reshape({32, 32});
  };
  const at::Tensor a = Attention(grouped.context, slots, rope, {2, 16},
                                 at::cat({q, k.reshape({32, 16}), v.reshape({32, 16})}, 1));
  const at::Tensor b =
      Attention(full.context, full_slots, rope, {2, 16}, at::cat({q, twice(k), twice(v)}, 1));
  EXPECT_LT(RelativeError(a, b), 1e-6);
}

}  // namespace
}  // namespace tritter
