#include "worker/training/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/training/newton_schulz.h"
#include "worker/training/non_finite.h"
#include "worker/training/state_share.h"

namespace tritter {
namespace {

ModelConfig Small() {
  ModelConfig config = *PresetConfig("nano");
  config.vocab = 264;
  return config;
}

RunSpec SpecOf(const ModelConfig& model) {
  RunSpec spec;
  spec.model = model;
  spec.steps = 1000;
  spec.ema_window = 10;
  return spec;
}

TEST(AverageDecay, GrowsToTheWindow) {
  EXPECT_DOUBLE_EQ(AverageDecay(1, 100), 0.1);
  EXPECT_DOUBLE_EQ(AverageDecay(9, 100), 0.5);
  EXPECT_DOUBLE_EQ(AverageDecay(100000, 100), 0.99);
  EXPECT_DOUBLE_EQ(AverageDecay(50, 1), 0.0);  // a window of one step: the weights themselves
}

TEST(Optimizer, AdamWClipsDecaysMatricesAndAverages) {
  const RunSpec spec = SpecOf(Small());
  ParameterStore parameters(spec.model);
  ParallelRows parallel(1);
  for (int64_t i = 0; i < parameters.size(); ++i) {
    parameters.MutableWeights()[i] = 1.0f;
    parameters.gradient()[i] = 2.0f;
  }
  OptimizerState state(spec, parameters);
  state.Reset(parameters);
  const double norm = GradientNorm(parameters, &parallel);
  EXPECT_NEAR(norm, 2.0 * std::sqrt(static_cast<double>(parameters.size())), 1e-6 * norm);
  const uint64_t version = parameters.version();
  Optimizer(spec, nullptr, &parallel).Update(1, 0.01, norm, &parameters, &state);
  EXPECT_GT(parameters.version(), version);
  const float clipped = static_cast<float>(2.0 / norm);
  EXPECT_NEAR(state.slots()[0].m[0], 0.1f * clipped, 1e-7f);
  // The first step has size learning_rate whatever the gradient; matrices decay by learning_rate *
  // weight_decay besides.
  for (size_t k = 0; k < parameters.slots().size(); ++k) {
    const ParameterSlot& slot = parameters.slots()[k];
    const bool matrix =
        slot.spec.kind == ParameterKind::kTernary || slot.spec.kind == ParameterKind::kHead;
    for (int64_t i : {int64_t{0}, slot.size - 1}) {
      const float weight = parameters.weight()[slot.offset + i];
      EXPECT_NEAR(weight, 1.0f - (matrix ? 0.001f : 0.0f) - 0.01f, 1e-5f) << slot.spec.name;
      EXPECT_NEAR(state.slots()[k].average[i], 0.1f + 0.9f * weight, 1e-6f);
    }
  }
}

// Weights and gradients that differ from parameter to parameter, after two updates.
std::string HashAfterUpdates(const RunSpec& spec, int threads) {
  ParameterStore parameters(spec.model);
  ParallelRows parallel(threads);
  OptimizerState state(spec, parameters);
  state.Reset(parameters);
  Optimizer optimizer(spec, NewtonSchulz, &parallel);
  for (int step = 1; step <= 2; ++step) {
    for (int64_t i = 0; i < parameters.size(); ++i)
      parameters.gradient()[i] = std::sin(static_cast<float>(i * step));
    optimizer.Update(step, 0.01, GradientNorm(parameters, &parallel), &parameters, &state);
  }
  return *HashState(parameters, state, std::vector<int>(parameters.slots().size(), 0), nullptr);
}

TEST(Optimizer, DoesNotDependOnTheNumberOfThreads) {
  for (const char* optimizer : {"adamw", "muon"}) {
    for (const char* moments : {"fp32", "8bit"}) {
      RunSpec spec = SpecOf(Small());
      spec.optimizer = optimizer;
      spec.moments = moments;
      EXPECT_EQ(HashAfterUpdates(spec, 1), HashAfterUpdates(spec, 3)) << optimizer << moments;
    }
  }
}

TEST(NewtonSchulz, SingularValuesComeNearOneAndTheirVectorsStay) {
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{64, 160}, {160, 64}, {48, 96}, {1, 30}}) {
    at::manual_seed(rows);
    const at::Tensor g = at::randn({rows, cols}) * 0.003;
    at::Tensor x = g.clone();
    NewtonSchulz(x.mutable_data_ptr<float>(), rows, cols);
    const auto [u, before, vt] = at::linalg_svd(g.to(at::kDouble), false);
    // In the basis of the singular vectors the result is diagonal.
    const at::Tensor inside = u.t().mm(x.to(at::kDouble)).mm(vt.t());
    const at::Tensor values = inside.diagonal();
    EXPECT_GE(values.min().item<double>(), 0.675) << rows << " x " << cols;
    EXPECT_LE(values.max().item<double>(), 1.3) << rows << " x " << cols;
    EXPECT_LE((inside - at::diag(values)).abs().max().item<double>(), 1e-4);
  }
  std::vector<float> zero(12, 0.0f);
  NewtonSchulz(zero.data(), 3, 4);
  EXPECT_EQ(zero, std::vector<float>(12, 0.0f));
}

// Muon by its formulas, in double: one matrix over a few steps.
TEST(Optimizer, MuonFollowsItsFormulas) {
  RunSpec spec = SpecOf(Small());
  spec.optimizer = "muon";
  ParameterStore parameters(spec.model);
  ParallelRows parallel(2);
  at::manual_seed(3);
  const at::Tensor flat = at::from_blob(parameters.MutableWeights(), {parameters.size()});
  flat.normal_(0, 0.05);
  OptimizerState state(spec, parameters);
  state.Reset(parameters);
  const ParameterSlot& slot = **parameters.Find("layers.0.ffn.gate.weight");
  const int64_t rows = slot.spec.shape[0], cols = slot.spec.shape[1];
  ASSERT_GT(rows, cols);
  const at::Tensor weight = at::from_blob(parameters.MutableWeights() + slot.offset, {rows, cols}),
                   gradient = at::from_blob(parameters.gradient() + slot.offset, {rows, cols});
  at::Tensor w = weight.to(at::kDouble), m = at::zeros_like(w), average = w.clone();
  Optimizer optimizer(spec, NewtonSchulz, &parallel);
  const double rate = 0.02;
  for (int step = 1; step <= 3; ++step) {
    at::from_blob(parameters.gradient(), {parameters.size()}).normal_();
    const double norm = GradientNorm(parameters, &parallel);
    const at::Tensor g = gradient.to(at::kDouble) / norm;  // clipped to 1
    m = spec.momentum * m + (1 - spec.momentum) * g;
    at::Tensor x = (spec.momentum * m + (1 - spec.momentum) * g).t();
    x = x / x.norm();
    for (int i = 0; i < 5; ++i) {
      const at::Tensor a = x.mm(x.t());
      x = 3.4445 * x + (-4.7750 * a + 2.0315 * a.mm(a)).mm(x);
    }
    w = w * (1 - rate * spec.weight_decay) -
        rate * 0.2 * std::sqrt(static_cast<double>(rows)) * x.t();
    const double decay = AverageDecay(step, spec.ema_window);
    average = decay * average + (1 - decay) * w;
    optimizer.Update(step, rate, norm, &parameters, &state);
  }
  const SlotState& kept = state.slots()[&slot - parameters.slots().data()];
  EXPECT_LE((weight.to(at::kDouble) - w).norm().item<double>(), 1e-4 * w.norm().item<double>());
  EXPECT_LE((at::from_blob(kept.m, {rows, cols}).to(at::kDouble) - m).norm().item<double>(),
            1e-5 * m.norm().item<double>());
  EXPECT_LE(
      (at::from_blob(kept.average, {rows, cols}).to(at::kDouble) - average).norm().item<double>(),
      1e-4 * average.norm().item<double>());
  EXPECT_EQ(kept.v, nullptr) << "one vector alone is kept of a matrix that Muon trains";
}

TEST(OptimizerState, ShardedKeepsEveryParameterOnOneRankAloneAndLittleElse) {
  for (const char* moments : {"fp32", "8bit"}) {
    RunSpec spec = SpecOf(Small());
    spec.moments = moments;
    ParameterStore parameters(spec.model);
    const std::vector<int> owners = AssignShares(parameters.slots(), 3);
    std::vector<int> keepers(parameters.slots().size(), 0);
    for (int rank = 0; rank < 3; ++rank) {
      const OptimizerState state(spec, parameters, owners, rank);
      EXPECT_FALSE(state.keeps_all());
      for (size_t i = 0; i < keepers.size(); ++i) {
        keepers[i] += state.slots()[i].kept;
        EXPECT_EQ(state.slots()[i].kept, owners[i] == rank);
        // The weight is everywhere, the rest with its keeper.
        EXPECT_EQ(StateTensors(parameters, state, i).size() > 1, owners[i] == rank);
      }
    }
    EXPECT_EQ(keepers, std::vector<int>(keepers.size(), 1));
  }
}

TEST(OptimizerState, EightBitMomentsTakeAQuarterAndTheirScales) {
  RunSpec spec = SpecOf(Small());
  const auto bytes = [&](const char* moments, bool matrices) {
    spec.moments = moments;
    ParameterStore parameters(spec.model);
    const OptimizerState state(spec, parameters);
    int64_t sum = 0;
    for (size_t i = 0; i < parameters.slots().size(); ++i) {
      if ((parameters.slots()[i].spec.shape.size() == 2) != matrices) continue;
      for (const StateTensor& t : StateTensors(parameters, state, i))
        sum += t.name.substr(0, 5) == "adam_" ? t.bytes : 0;
    }
    return sum;
  };
  EXPECT_EQ(bytes("8bit", false), bytes("fp32", false)) << "norms stay as they are";
  const double matrices = static_cast<double>(bytes("fp32", true));
  EXPECT_NEAR(static_cast<double>(bytes("8bit", true)), matrices * (2 + 8 / 256.0) / 8,
              1e-3 * matrices);
}

TEST(NonFiniteSearch, NamesWhatComesFirstInTheForwardPass) {
  ParameterStore parameters(Small());
  const float good[2] = {1, 2}, bad[2] = {1, std::numeric_limits<float>::infinity()};
  const auto search = [&](const float* layer0, const float* layer1) {
    NonFiniteSearch s(parameters);
    s.Output("embed", good, 2);
    s.Output("layers.0", layer0, 2);
    s.Output("layers.1", layer1, 2);
    return s.Finish();
  };
  const auto spoil = [&](const char* name) {
    parameters.MutableWeights()[(*parameters.Find(name))->offset + 2] =
        std::numeric_limits<float>::quiet_NaN();
  };
  EXPECT_EQ(search(good, good), "");
  EXPECT_EQ(search(bad, bad), "output of layers.0 (element 1 is inf)");
  spoil("head.weight");
  EXPECT_EQ(search(good, good), "weight head.weight (element 2 is nan)");
  spoil("layers.1.ffn.up.weight");
  EXPECT_EQ(search(bad, bad), "output of layers.0 (element 1 is inf)");
  EXPECT_EQ(search(good, bad), "weight layers.1.ffn.up.weight (element 2 is nan)");
  spoil("embed.weight");
  EXPECT_EQ(search(bad, bad), "weight embed.weight (element 2 is nan)");
}

TEST(FirstNonFiniteGradient, IsTheOneTheBackwardPassMadeFirst) {
  ParameterStore parameters(Small());
  EXPECT_EQ(FirstNonFiniteGradient(parameters), "");
  for (const char* name : {"embed.weight", "layers.1.attn.q.weight"}) {
    parameters.gradient()[(*parameters.Find(name))->offset + 1] =
        std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(FirstNonFiniteGradient(parameters),
              absl::StrCat("gradient of ", name, " (element 1 is nan)"));
  }
}

TEST(AssignShares, CoversEveryParameterOnceAndEvenly) {
  const ParameterStore parameters(Small());
  for (int world : {1, 2, 3, 5}) {
    const std::vector<int> owners = AssignShares(parameters.slots(), world);
    std::vector<int64_t> load(world, 0);
    for (size_t i = 0; i < owners.size(); ++i) load.at(owners[i]) += parameters.slots()[i].size;
    const auto [least, most] = std::minmax_element(load.begin(), load.end());
    EXPECT_LT(static_cast<double>(*most - *least), 0.1 * static_cast<double>(parameters.size()))
        << world;
    EXPECT_EQ(owners, AssignShares(parameters.slots(), world));
  }
}

}  // namespace
}  // namespace tritter
