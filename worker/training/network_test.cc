// The network against plain LibTorch formulas, and the sanity figures of the specification.
#include "worker/training/network.h"

#include <cmath>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/tiny_model.h"

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
  net.parameters.MarkChanged();
  EXPECT_TRUE(layer->Forward(x).equal(-before));
}

TEST(BitLinear, OutputOfATokenDoesNotDependOnTheOthers) {
  TinyNetwork net(TinyModel());
  ASSERT_OK_AND_ASSIGN(auto layer, BitLinear::Create(net.context, {{"layers.1.ffn.down.weight"}}));
  const at::Tensor x = at::randn({40, 48});
  const at::Tensor all = layer->Forward(x);
  for (int64_t count : {1, 3, 17})
    EXPECT_TRUE(layer->Forward(x.narrow(0, 5, count).contiguous()).equal(all.narrow(0, 5, count)));
}

// Rounding in the last bit may flip an activation code here and there: the bounds leave room for a
// few of those.
TEST(Network, LogitsAndGradientsAreThoseOfThePlainFormulas) {
  TinyNetwork net(TinyModel());
  net.Weight("head.weight").mul_(100.0);  // away from the near-zero start
  const std::vector<int64_t> tokens = TinyTokens(1, 3 * 17);
  std::map<std::string, at::Tensor> plain;
  for (const ParameterSlot& slot : net.parameters.slots()) {
    plain[slot.spec.name] = net.Weight(slot.spec.name).clone().requires_grad_(true);
  }
  const at::Tensor grid = at::tensor(at::ArrayRef<int64_t>(tokens)).view({3, 17});
  const at::Tensor targets = grid.narrow(1, 1, 16).reshape({-1});
  const at::Tensor plain_logits =
      PlainLogits(net.config, plain, grid.narrow(1, 0, 16)).reshape({48, -1});
  at::cross_entropy_loss(plain_logits, targets).backward();

  std::vector<int64_t> inputs,
      wanted(targets.data_ptr<int64_t>(), targets.data_ptr<int64_t>() + 48);
  for (int64_t s = 0; s < 3; ++s)
    inputs.insert(inputs.end(), tokens.begin() + s * 17, tokens.begin() + s * 17 + 16);
  net.sink.BeginMicroBatch(true, true);
  const at::Tensor embedded = net.network->Embed(inputs);
  const at::Tensor hidden = net.network->Forward(embedded, {3, 16});
  EXPECT_LT(RelativeError(at::mm(hidden.detach(), net.Weight("head.weight").t()), plain_logits),
            5e-3);
  const LossResult loss =
      net.loss->Compute(hidden.detach(), wanted, std::vector<float>(48, 1.0f), 1.0f / 48);
  EXPECT_NEAR(loss.loss / 48, at::cross_entropy_loss(plain_logits, targets).item<double>(), 5e-3);
  hidden.backward(loss.hidden_gradient);
  net.network->CommitEmbeddingGradient(embedded.grad(), inputs);
  for (const ParameterSlot& slot : net.parameters.slots()) {
    EXPECT_LT(RelativeError(net.Gradient(slot.spec.name), plain[slot.spec.name].grad()), 3e-2)
        << slot.spec.name;
  }
}

TEST(Network, NoGradientReachesTheFuture) {
  TinyNetwork net(TinyModel());
  const std::vector<int64_t> tokens = TinyTokens(2, 32);
  for (int64_t t : {0, 7, 14}) {
    const at::Tensor embedded = net.network->Embed(tokens);
    const at::Tensor hidden = net.network->Forward(embedded, {2, 16});
    at::Tensor gradient = at::zeros_like(hidden);
    gradient[t].fill_(1.0);
    hidden.backward(gradient);
    EXPECT_GT(embedded.grad().narrow(0, 0, t + 1).abs().max().item<float>(), 1e-4);
    EXPECT_EQ(embedded.grad().narrow(0, t + 1, 32 - t - 1).abs().max().item<float>(), 0.0f) << t;
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
  const at::Tensor a = CausalAttention(net.context, slots, start, {2, 16}, qkv);
  const at::Tensor b = CausalAttention(net.context, slots, shifted, {2, 16}, qkv);
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
  const at::Tensor a = CausalAttention(grouped.context, slots, rope, {2, 16},
                                       at::cat({q, k.reshape({32, 16}), v.reshape({32, 16})}, 1));
  const at::Tensor b =
      CausalAttention(full.context, full_slots, rope, {2, 16}, at::cat({q, twice(k), twice(v)}, 1));
  EXPECT_LT(RelativeError(a, b), 1e-6);
}

TEST(Network, RefusesWhatItDoesNotTrain) {
  ModelConfig config = TinyModel();
  config.attention = AttentionMode::kBidirectional;
  EXPECT_THAT(CheckSupported(config),
              StatusIs(absl::StatusCode::kUnimplemented, ::testing::HasSubstr("attention")));
}

}  // namespace
}  // namespace tritter
