#include "worker/training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "worker/training/state_share.h"

namespace tritter {
namespace {

ModelConfig Small() {
  ModelConfig config = *PresetConfig("nano");
  config.vocab = 264;
  return config;
}

TEST(AverageDecay, GrowsToTheWindow) {
  EXPECT_DOUBLE_EQ(AverageDecay(1, 100), 0.1);
  EXPECT_DOUBLE_EQ(AverageDecay(9, 100), 0.5);
  EXPECT_DOUBLE_EQ(AverageDecay(100000, 100), 0.99);
  EXPECT_DOUBLE_EQ(AverageDecay(50, 0.5), 0.0);  // a window under one step: the weights themselves
}

TEST(WeightDecay, IsForMatricesOnly) {
  EXPECT_TRUE(HasWeightDecay(ParameterKind::kTernary));
  EXPECT_TRUE(HasWeightDecay(ParameterKind::kHead));
  for (ParameterKind kind : {ParameterKind::kEmbedding, ParameterKind::kNorm, ParameterKind::kBias,
                             ParameterKind::kScale}) {
    EXPECT_FALSE(HasWeightDecay(kind));
  }
}

TEST(AdamWUpdate, ClipsDecaysAndAverages) {
  ParameterStore parameters(Small());
  ParallelRows parallel(1);
  for (int64_t i = 0; i < parameters.size(); ++i) {
    parameters.weight()[i] = parameters.average()[i] = 1.0f;
    parameters.gradient()[i] = 2.0f;
  }
  const double norm = GradientNorm(parameters, &parallel);
  EXPECT_NEAR(norm, 2.0 * std::sqrt(static_cast<double>(parameters.size())), 1e-6 * norm);
  RunSpec spec;
  spec.steps = 1000;
  spec.ema_fraction = 0.01;
  const uint64_t version = parameters.version();
  AdamWUpdate(spec, 1, 0.01, norm, &parameters, &parallel);
  EXPECT_GT(parameters.version(), version);
  const float clipped = static_cast<float>(2.0 / norm);
  EXPECT_NEAR(parameters.adam_m()[0], 0.1f * clipped, 1e-7f);
  // The first step has size learning_rate whatever the gradient; matrices decay by learning_rate *
  // weight_decay besides.
  for (const ParameterSlot& slot : parameters.slots()) {
    const float decayed = HasWeightDecay(slot.spec.kind) ? 0.001f : 0.0f;
    for (int64_t i : {slot.offset, slot.offset + slot.size - 1}) {
      EXPECT_NEAR(parameters.weight()[i], 1.0f - decayed - 0.01f, 1e-5f) << slot.spec.name;
      EXPECT_NEAR(parameters.average()[i], 0.1f + 0.9f * parameters.weight()[i], 1e-6f);
    }
  }
}

TEST(AdamWUpdate, DoesNotDependOnTheNumberOfThreads) {
  ParameterStore a(Small()), b(Small());
  ParallelRows one(1), three(3);
  for (int64_t i = 0; i < a.size(); ++i)
    a.gradient()[i] = b.gradient()[i] = std::sin(static_cast<float>(i));
  EXPECT_EQ(GradientNorm(a, &one), GradientNorm(b, &three));
  RunSpec spec;
  spec.steps = 10;
  AdamWUpdate(spec, 1, 0.01, 5.0, &a, &one);
  AdamWUpdate(spec, 1, 0.01, 5.0, &b, &three);
  EXPECT_EQ(HashState(a), HashState(b));
}

TEST(FirstNonFinite, NamesWeightsBeforeGradientsInTableOrder) {
  ParameterStore parameters(Small());
  EXPECT_EQ(FirstNonFinite(parameters), "");
  const ParameterSlot& head = **parameters.Find("head.weight");
  parameters.gradient()[head.offset + 2] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(FirstNonFinite(parameters), "gradient of head.weight (element 2 is nan)");
  parameters.weight()[head.offset] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(FirstNonFinite(parameters), "weight head.weight (element 0 is inf)");
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
