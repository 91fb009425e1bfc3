#include "inference/sampler.h"

#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

std::vector<float> Logs(const std::vector<double>& p) {
  std::vector<float> logits;
  for (double x : p) logits.push_back(static_cast<float>(std::log(x)));
  return logits;
}

std::map<int32_t, int> Draw(const std::vector<float>& logits, SamplingParams params, int draws) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[Sample(logits, params, i)];
  return counts;
}

TEST(Sampler, GreedyTakesTheLargestAndOfEqualOnesTheSmallestId) {
  EXPECT_EQ(Greedy(std::vector<float>{1, 3, 2}), 1);
  EXPECT_EQ(Greedy(std::vector<float>{1, 3, 3}), 1);
  EXPECT_EQ(Sample(std::vector<float>{5, 5}, SamplingParams{}, 0), 0);
}

TEST(Sampler, FrequenciesFollowTheProbabilities) {
  const std::vector<double> p = {0.5, 0.3, 0.15, 0.05};
  std::map<int32_t, int> counts = Draw(Logs(p), {.temperature = 1, .seed = 7}, 20000);
  for (size_t i = 0; i < p.size(); ++i)
    EXPECT_NEAR(counts[static_cast<int32_t>(i)] / 20000.0, p[i], 0.012);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  // p^(1/T) renormalised: T = 0.5 gives 16/17 for 0.8 against 0.2.
  std::map<int32_t, int> cold = Draw(Logs({0.8, 0.2}), {.temperature = 0.5}, 20000);
  EXPECT_NEAR(cold[0] / 20000.0, 16.0 / 17.0, 0.01);
  std::map<int32_t, int> hot = Draw(Logs({0.8, 0.2}), {.temperature = 2}, 20000);
  EXPECT_NEAR(hot[0] / 20000.0, 2.0 / 3.0, 0.012);
}

TEST(Sampler, TopKKeepsTheMostLikelyWithTiesToTheSmallerId) {
  std::map<int32_t, int> counts =
      Draw(Logs({0.2, 0.3, 0.3, 0.2}), {.temperature = 1, .top_k = 3}, 5000);
  EXPECT_EQ(counts.count(3), 0u);
  EXPECT_EQ(counts.size(), 3u);
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = Logs({0.15, 0.5, 0.05, 0.3});
  EXPECT_EQ(Draw(logits, {.temperature = 1, .top_p = 0.4}, 2000).size(), 1u);  // 0.5 is enough
  EXPECT_EQ(Draw(logits, {.temperature = 1, .top_p = 0.6}, 2000).size(), 2u);  // 0.5 + 0.3
  EXPECT_EQ(Draw(logits, {.temperature = 1, .top_p = 0.9}, 2000).size(), 3u);  // + 0.15
  EXPECT_EQ(Draw(logits, {.temperature = 1, .top_p = 0.99}, 5000).size(), 4u);
  EXPECT_EQ(Draw(logits, {.temperature = 1, .top_p = 1e-9}, 2000).size(), 1u);  // never empty
}

TEST(Sampler, TopPRenormalisesWhatItKeeps) {
  std::map<int32_t, int> counts =
      Draw(Logs({0.5, 0.3, 0.2}), {.temperature = 1, .top_p = 0.7}, 20000);
  EXPECT_NEAR(counts[0] / 20000.0, 0.5 / 0.8, 0.012);
  EXPECT_EQ(counts.count(2), 0u);
}

TEST(Sampler, TopPOfAFlatDistributionLooksBeyondTheFirstCandidates) {
  const std::vector<float> logits(5000, 1.0f);
  std::map<int32_t, int> counts = Draw(logits, {.temperature = 1, .top_p = 0.5}, 4000);
  EXPECT_GT(counts.size(), 1800u);  // 2500 are kept, 4000 draws
  EXPECT_LT(counts.rbegin()->first, 2501);
}

TEST(Sampler, SameSeedAndPositionGiveTheSameTokenOthersDiffer) {
  const std::vector<float> logits(100, 0.0f);
  std::vector<int32_t> a, b, c;
  for (int i = 0; i < 50; ++i) {
    a.push_back(Sample(logits, {.temperature = 1, .seed = 1}, i));
    b.push_back(Sample(logits, {.temperature = 1, .seed = 1}, i));
    c.push_back(Sample(logits, {.temperature = 1, .seed = 2}, i));
  }
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

TEST(Sampler, LogitsThatAreNoNumbersAreNamed) {
  std::vector<float> logits(300, 1.0f);
  EXPECT_OK(CheckFinite(logits, 5));
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    for (const size_t id : {size_t{0}, size_t{299}}) {
      std::vector<float> with = logits;
      with[id] = bad;
      EXPECT_THAT(CheckFinite(with, 5),
                  StatusIs(absl::StatusCode::kInternal,
                           testing::HasSubstr(absl::StrCat("position 5: logit of token ", id))));
    }
  }
}

TEST(Sampler, RefusesParametersOutsideTheirRange) {
  EXPECT_OK(ValidateSampling({}));
  EXPECT_THAT(ValidateSampling({.temperature = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("temperature")));
  EXPECT_THAT(ValidateSampling({.temperature = std::nan("")}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("temperature")));
  EXPECT_THAT(ValidateSampling({.top_p = 1.5}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("top_p is 1.5")));
  EXPECT_THAT(ValidateSampling({.top_k = -2}),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("top_k is -2")));
}

TEST(Score, GivesLogProbabilitiesCandidatesAndSpread) {
  const PositionScore s = ScorePosition(Logs({0.1, 0.6, 0.3}), 2, 2);
  EXPECT_NEAR(s.logprob, std::log(0.3), 1e-6);
  ASSERT_EQ(s.top.size(), 2u);
  EXPECT_EQ(s.top[0].id, 1);
  EXPECT_EQ(s.top[1].id, 2);
  EXPECT_NEAR(s.top[0].logprob, std::log(0.6), 1e-6);
  const PositionScore flat = ScorePosition(std::vector<float>{1, 3}, 0, 0);
  EXPECT_DOUBLE_EQ(flat.logit_stddev, 1.0);
}

}  // namespace
}  // namespace tritter
