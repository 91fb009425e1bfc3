#include "inference/sampler.h"

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "kernels/float_ops.h"

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

// docs/numerics.md as plain code: every list whole and sorted, nothing skipped.
int32_t PlainSample(std::vector<float> l, const SamplingParams& p, int64_t position,
                    const std::vector<int32_t>& prompt, const std::vector<int32_t>& text,
                    const std::set<int32_t>* allowed) {
  for (const LogitBias& b : p.logit_bias) l[b.id] += static_cast<float>(b.bias);
  std::vector<int32_t> order;
  for (int32_t id = 0; id < static_cast<int32_t>(l.size()); ++id) {
    const auto n = std::count(text.begin(), text.end(), id);
    if (n > 0 || std::count(prompt.begin(), prompt.end(), id) > 0) {
      const float r = static_cast<float>(p.repetition_penalty);
      l[id] = l[id] > 0 ? l[id] / r : l[id] * r;
    }
    if (n > 0)
      l[id] -=
          static_cast<float>(p.presence_penalty + p.frequency_penalty * static_cast<double>(n));
    if (allowed == nullptr || allowed->count(id) > 0) order.push_back(id);
  }
  const auto before = [&](int32_t a, int32_t b) { return l[a] != l[b] ? l[a] > l[b] : a < b; };
  std::sort(order.begin(), order.end(), before);
  if (p.temperature == 0 || p.top_k == 1) return order[0];
  std::map<int32_t, float> w;
  for (const int32_t id : order) {
    float x = (l[id] - l[order[0]]) * static_cast<float>(1.0 / p.temperature);
    ExpRow(&x, 1, &x);
    w[id] = x;
  }
  std::erase_if(order, [&](int32_t id) { return w[id] < p.min_p; });
  const bool cut = p.top_k > 0 && p.top_k < static_cast<int64_t>(order.size());
  if (cut) order.resize(static_cast<size_t>(p.top_k));
  if (!cut) std::sort(order.begin(), order.end());
  double mass = 0;
  for (const int32_t id : order) mass += w[id];
  if (p.top_p < 1) {
    std::sort(order.begin(), order.end(), before);
    double sum = 0;
    size_t keep = 0;
    while (keep < order.size() && sum < p.top_p * mass) sum += w[order[keep++]];
    order.resize(keep);
    mass = sum;
  }
  const double target = Philox(MixKey(p.seed, static_cast<uint64_t>(position))).Uniform() * mass;
  double sum = 0;
  for (const int32_t id : order) {
    sum += w[id];
    if (sum > target) return id;
  }
  return order.back();
}

TEST(Sampler, EqualsThePlainFormForRandomParameters) {
  Philox random(11);
  for (int round = 0; round < 3000; ++round) {
    const size_t vocabulary = 2 + random.Below(round % 10 == 0 ? 900 : 60);
    std::vector<float> logits(vocabulary);
    // Coarse steps, so that equal logits are met.
    for (float& l : logits) l = std::round(static_cast<float>(random.Normal()) * 8) / 4;
    const auto id = [&] { return static_cast<int32_t>(random.Below(vocabulary)); };
    const auto maybe = [&](double usual, double other) {
      return random.Below(2) == 0 ? usual : other;
    };
    SamplingParams p;
    p.temperature = maybe(0.8, random.Below(4) == 0 ? 0 : 0.1 + 2 * random.Uniform());
    p.top_p = maybe(1, 1 - random.Uniform());
    p.top_k = static_cast<int64_t>(maybe(0, static_cast<double>(random.Below(vocabulary + 3))));
    p.min_p = maybe(0, random.Uniform());
    p.seed = random.Next64();
    p.repetition_penalty = maybe(1, 0.5 + 2 * random.Uniform());
    p.presence_penalty = maybe(0, 4 * random.Uniform() - 2);
    p.frequency_penalty = maybe(0, 4 * random.Uniform() - 2);
    std::set<int32_t> biased;
    for (uint64_t n = random.Below(4); n > 0; --n) biased.insert(id());
    for (const int32_t i : biased) p.logit_bias.push_back({i, 20 * random.Uniform() - 10});
    std::vector<int32_t> prompt, text;
    TokenCounts counts;
    for (uint64_t n = random.Below(30); n > 0; --n) {
      prompt.push_back(id());
      counts.try_emplace(prompt.back(), 0);
    }
    for (uint64_t n = random.Below(30); n > 0; --n) {
      text.push_back(id());
      ++counts[text.back()];
    }
    std::set<int32_t> allowed = {id()};
    TokenMask mask(static_cast<int64_t>(vocabulary));
    for (uint64_t n = random.Below(vocabulary); n > 0; --n) allowed.insert(id());
    for (const int32_t i : allowed) mask.Add(i);
    const bool constrained = random.Below(3) == 0;
    EXPECT_EQ(Sample(logits, p, round, counts, constrained ? &mask : nullptr),
              PlainSample(logits, p, round, prompt, text, constrained ? &allowed : nullptr))
        << "round " << round;
  }
}

TEST(Sampler, PenaltiesAndBiasBeyondTheRangeOfFloatsStayNumbers) {
  constexpr float kMost = std::numeric_limits<float>::max();
  SamplingParams p{.temperature = 1, .repetition_penalty = 0.01, .logit_bias = {{0, 100}}};
  EXPECT_EQ(Sample(std::vector<float>{kMost, 0, -kMost}, p, 0, {{0, 1}, {2, 1}}), 0);
  p.repetition_penalty = 100;
  EXPECT_EQ(Sample(std::vector<float>{-kMost, -kMost / 2}, p, 0, {{0, 1}}), 1);
}

TEST(Sampler, OnlyWhatIsAllowedIsChosen) {
  TokenMask one(100);
  one.Add(70);
  std::vector<float> logits(100, 5.0f);
  logits[70] = -1e30f;
  EXPECT_EQ(Sample(logits, {}, 0, {}, &one), 70);
  EXPECT_EQ(Sample(logits, {.temperature = 1, .top_p = 0.5, .top_k = 40}, 0, {}, &one), 70);
}

TEST(Sampler, MinPKeepsWhatIsLikelyEnoughAgainstTheBest) {
  const std::vector<float> logits = Logs({0.5, 0.3, 0.15, 0.05});
  EXPECT_EQ(Draw(logits, {.temperature = 1, .min_p = 0.25}, 2000).size(), 3u);
  EXPECT_EQ(Draw(logits, {.temperature = 1, .min_p = 1}, 2000).size(), 1u);
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
  EXPECT_OK(ValidateSampling({}, 10));
  EXPECT_OK(ValidateSampling({.logit_bias = {{9, -100}}}, 10));
  const auto refused = [](SamplingParams p, const std::string& words) {
    EXPECT_THAT(ValidateSampling(p, 10),
                StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr(words)));
  };
  refused({.temperature = -1}, "temperature");
  refused({.temperature = std::nan("")}, "temperature");
  refused({.top_p = 1.5}, "top_p is 1.5");
  refused({.top_k = -2}, "top_k is -2");
  refused({.min_p = 1.1}, "sampling.min_p is 1.1, allowed are 0 to 1");
  refused({.repetition_penalty = 0}, "repetition_penalty is 0");
  refused({.presence_penalty = 2.5}, "presence_penalty is 2.5");
  refused({.frequency_penalty = std::nan("")}, "frequency_penalty is nan");
  refused({.logit_bias = {{10, 1}}}, "names token 10, the model's token ids are 0 to 9");
  refused({.logit_bias = {{3, 101}}}, "logit_bias[3] is 101");
  refused({.logit_bias = std::vector<LogitBias>(1025, {1, 1})}, "1025 ids, at most 1024");
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
