#include "worker/training/outer_sync.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/fake_collective.h"
#include "worker/training/optimizer.h"
#include "worker/training/trainer_checks.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

RunSpec Spec(double rate = 1.0, double momentum = 0.0, const std::string& compression = "none") {
  RunSpec spec;
  spec.model = *PresetConfig("nano");
  spec.model.vocab = 264;
  spec.model.layers = 1;
  spec.steps = 1000;
  spec.ema_window = 10;
  spec.sync = "outer";
  spec.outer_steps = 5;
  spec.outer_rate = rate;
  spec.outer_momentum = momentum;
  spec.outer_compression = compression;
  return spec;
}

// One rank's weights and state, at w[i] = small numbers that differ.
struct Member {
  explicit Member(const RunSpec& spec)
      : parameters(spec.model), state(spec, parameters), sync(spec, parameters.slots()) {
    float* const w = parameters.MutableWeights();
    for (int64_t i = 0; i < parameters.size(); ++i)
      w[i] = 0.01f * static_cast<float>((i * 7919) % 101 - 50);
    state.Reset(parameters);
    sync.Begin(parameters.weight());
  }
  OuterSync::Arrays arrays() {
    return {parameters.MutableWeights(), state.average(), state.residual(), state.outer_momentum()};
  }
  ParameterStore parameters;
  OptimizerState state;
  OuterSync sync;
};

// What rank `rank` is displaced by in a round: v = w - this.
float Displacement(int rank, int64_t i, int64_t round = 0) {
  return 1e-3f * static_cast<float>((i * 31 + rank * 17 + round * 5) % 13 - 6 + rank);
}

class Group {
 public:
  Group(const RunSpec& spec, int world) : collectives_(MakeFakeGroup(world)) {
    for (int r = 0; r < world; ++r) members.push_back(std::make_unique<Member>(spec));
  }
  // Every rank moves by displacement(rank, i) and the round ends with step `step`.
  std::vector<absl::StatusOr<OuterSync::Ended>> Round(
      int64_t step, const std::function<float(int, int64_t)>& displacement,
      const std::vector<double>& weights, bool yield_of_last = false) {
    const int world = static_cast<int>(members.size());
    std::vector<absl::StatusOr<OuterSync::Ended>> out(world, absl::UnknownError(""));
    std::vector<std::thread> threads;
    for (int r = 0; r < world; ++r) {
      threads.emplace_back([&, r] {
        Member& m = *members[r];
        float* const w = m.parameters.MutableWeights();
        for (int64_t i = 0; i < m.parameters.size(); ++i) w[i] -= displacement(r, i);
        m.sync.AddStep(weights[r] * (3.0 + r), weights[r], 1.0 + r);
        out[r] = m.sync.EndRound(step, yield_of_last && r == world - 1, collectives_[r].get(),
                                 m.arrays());
        if (!out[r].ok()) collectives_[r]->Abort("failed");
      });
    }
    for (std::thread& t : threads) t.join();
    return out;
  }
  std::vector<std::unique_ptr<Member>> members;

 private:
  std::vector<std::unique_ptr<Collective>> collectives_;
};

std::vector<float> Weights(const Member& m) {
  return {m.parameters.weight(), m.parameters.weight() + m.parameters.size()};
}

TEST(OuterSync, GoesOnFromTheWeightedMeanWithTheSameBitsOnEveryRank) {
  for (const char* compression : {"none", "int8"}) {
    const RunSpec spec = Spec(1.0, 0.0, compression);
    Group group(spec, 3);
    const std::vector<float> anchor = Weights(*group.members[0]);
    for (const auto& ended :
         group.Round(5, [](int r, int64_t i) { return Displacement(r, i); }, {1.0, 2.0, 5.0}))
      ASSERT_OK(ended.status());
    const std::vector<float> now = Weights(*group.members[0]);
    EXPECT_EQ(Weights(*group.members[1]), now);
    EXPECT_EQ(Weights(*group.members[2]), now);
    // Half a step of the codes of each rank, where there are codes.
    const double off = *compression == 'i' ? 8e-3 / 127 * 0.51 : 1e-7;
    for (int64_t i = 0; i < static_cast<int64_t>(now.size()); ++i) {
      const double mean =
          (Displacement(0, i) + 2.0 * Displacement(1, i) + 5.0 * Displacement(2, i)) / 8.0;
      ASSERT_NEAR(now[i], anchor[i] - mean, off) << compression << " " << i;
    }
  }
}

TEST(OuterSync, TheGroupsLossIsWeightedAndOneWishIsEnough) {
  Group group(Spec(), 2);
  const auto ended = group.Round(5, [](int, int64_t) { return 0.0f; }, {1.0, 3.0}, true);
  for (const auto& e : ended) {
    ASSERT_OK(e.status());
    ASSERT_EQ(e->steps.size(), 1u);
    EXPECT_DOUBLE_EQ(e->steps[0].loss, (3.0 + 3 * 4.0) / 4);
    EXPECT_DOUBLE_EQ(e->steps[0].grad_norm, (1.0 + 3 * 2.0) / 4);
    EXPECT_TRUE(e->yield);
  }
  const auto none = group.Round(10, [](int, int64_t) { return 0.0f; }, {1.0, 3.0});
  EXPECT_FALSE(none[0]->yield);
}

TEST(OuterSync, ARankThatTrainedOnNothingHasNoSay) {
  Group group(Spec(), 2);
  const std::vector<float> anchor = Weights(*group.members[0]);
  for (const auto& e :
       group.Round(5, [](int r, int64_t) { return r == 0 ? 1e-3f : 7.0f; }, {1.0, 0.0}))
    ASSERT_OK(e.status());
  EXPECT_NEAR(Weights(*group.members[1])[0], anchor[0] - 1e-3f, 1e-7);
  const auto nobody = group.Round(10, [](int, int64_t) { return 0.0f; }, {0.0, 0.0});
  EXPECT_THAT(nobody[0].status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no token to predict")));
}

// With a constant displacement s the outer step has a closed form: after round n it moves by
// η s (1 + μ + … + μ^n), which tends to η s / (1 - μ); μ = 0 is lookahead.
TEST(OuterSync, NesterovsClosedForm) {
  for (const double momentum : {0.0, 0.5, 0.9}) {
    const double rate = 0.7;
    Group group(Spec(rate, momentum), 2);
    double sum = 1;
    for (int64_t round = 1; round <= 12; ++round) {
      const std::vector<float> anchor = Weights(*group.members[0]);
      for (const auto& e : group.Round(5 * round, [](int, int64_t) { return 1e-3f; }, {1.0, 1.0}))
        ASSERT_OK(e.status());
      sum += std::pow(momentum, static_cast<double>(round));
      const double want = momentum == 0 ? rate * 1e-3 : rate * 1e-3 * sum;
      EXPECT_NEAR(anchor[3] - Weights(*group.members[1])[3], want, 2e-7)
          << momentum << " " << round;
    }
  }
}

TEST(OuterSync, TheLastRoundEndsOnThePlainMean) {
  const RunSpec spec = Spec(0.7, 0.9);
  Group group(spec, 2);
  for (const auto& e : group.Round(5, [](int, int64_t) { return 1e-3f; }, {1.0, 1.0}))
    ASSERT_OK(e.status());
  const std::vector<float> anchor = Weights(*group.members[0]);
  for (const auto& e : group.Round(spec.steps, [](int, int64_t) { return 1e-3f; }, {1.0, 1.0}))
    ASSERT_OK(e.status());
  EXPECT_NEAR(Weights(*group.members[0])[3], anchor[3] - 1e-3, 1e-7);
}

TEST(OuterSync, WhoIsAloneKeepsItsWeightsBitForBit) {
  Group group(Spec(), 1);
  std::vector<float> want = Weights(*group.members[0]);
  for (size_t i = 0; i < want.size(); ++i) want[i] -= Displacement(0, static_cast<int64_t>(i));
  for (const auto& e : group.Round(5, [](int r, int64_t i) { return Displacement(r, i); }, {4.0}))
    ASSERT_OK(e.status());
  EXPECT_EQ(Weights(*group.members[0]), want);
}

TEST(OuterSync, AveragesFollowTheAnchorsWithTheDecayOfTheWholeRound) {
  const RunSpec spec = Spec();
  Member alone(spec);
  const std::vector<float> before = Weights(alone);
  auto group = MakeFakeGroup(1);
  for (int64_t step = 1; step <= 5; ++step) alone.sync.AddStep(1, 1, 1);
  alone.parameters.MutableWeights()[3] += 1.0f;
  ASSERT_OK(alone.sync.EndRound(5, false, group[0].get(), alone.arrays()).status());
  double decay = 1;
  for (int64_t step = 1; step <= 5; ++step) decay *= AverageDecay(step, spec.ema_window);
  EXPECT_NEAR(alone.state.average()[3], before[3] + (1 - decay), 1e-6);
  EXPECT_EQ(alone.state.average()[4], before[4]);
  EXPECT_EQ(alone.sync.steps(), 0);
}

// What the codes of one round lack comes with the next ones.
TEST(OuterSync, ErrorFeedbackFollowsTheFullPrecisionMean) {
  Group coded(Spec(1.0, 0.0, "int8"), 2), exact(Spec(), 2);
  for (int64_t round = 1; round <= 30; ++round) {
    const auto move = [&](int r, int64_t i) {
      return i % 256 == 0 ? 0.05f : Displacement(r, i, round);  // one that makes all steps coarse
    };
    for (Group* group : {&coded, &exact}) {
      for (const auto& e : group->Round(5 * round, move, {1.0, 1.0})) ASSERT_OK(e.status());
    }
  }
  const std::vector<float> a = Weights(*coded.members[0]), b = Weights(*exact.members[0]);
  // One code is 0.05 / 127; without feedback thirty roundings would add up.
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 0.06 / 127) << i;
}

TEST(OuterSync, NamesTheTensorThatIsNotFinite) {
  for (const char* compression : {"none", "int8"}) {
    Group group(Spec(1.0, 0.0, compression), 2);
    const ParameterSlot& slot = group.members[0]->parameters.slots()[2];
    const auto ended = group.Round(
        5,
        [&](int r, int64_t i) {
          return r == 1 && i == slot.offset + 1 ? std::numeric_limits<float>::infinity() : 0.0f;
        },
        {1.0, 1.0});
    EXPECT_THAT(ended[1].status(),
                StatusIs(absl::StatusCode::kInternal,
                         HasSubstr("displacement of " + slot.spec.name + " (element 1)")));
    EXPECT_TRUE(ended[1].status().GetPayload(kFirstBadTensor).has_value());
    EXPECT_FALSE(ended[0].ok());
  }
}

}  // namespace
}  // namespace tritter
