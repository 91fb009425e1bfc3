#include "model/ternary_conversion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "kernels/quantise.h"
#include "model/testing/random_weights.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

struct Quantised {
  std::vector<int8_t> q;
  std::vector<float> scales;
};
Quantised Quantise(const std::vector<float>& w, int64_t rows, int64_t cols, bool per_row) {
  Quantised out{std::vector<int8_t>(w.size()), std::vector<float>(per_row ? rows : 1)};
  QuantiseWeights(w.data(), rows, cols, per_row, out.q.data(), out.scales.data());
  return out;
}

TEST(KeepNormsOfTernary, TheCodesStayAndTheEffectiveWeightsHaveTheNormOfThePlainOnes) {
  constexpr int64_t kRows = 8, kCols = 8192;
  for (const bool per_row : {true, false}) {
    Philox random(7);
    std::vector<float> plain(kRows * kCols);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const double deviation = per_row ? 0.01 * static_cast<double>(i / kCols + 1) : 0.02;
      plain[i] = static_cast<float>(deviation * random.Normal());
    }
    std::vector<float> converted = plain;
    KeepNormsOfTernary(converted.data(), kRows, kCols, per_row);
    const Quantised before = Quantise(plain, kRows, kCols, per_row),
                    after = Quantise(converted, kRows, kCols, per_row);
    int64_t differing = 0;  // the scale is rounded anew: a weight on the border may change
    for (size_t i = 0; i < plain.size(); ++i) differing += before.q[i] != after.q[i];
    EXPECT_LE(differing, 1);
    for (int64_t r = 0; r < kRows; ++r) {
      double dot = 0, norm = 0, effective = 0, unconverted = 0;
      for (int64_t i = r * kCols; i < (r + 1) * kCols; ++i) {
        const double w = plain[i], e = after.scales[per_row ? r : 0] * after.q[i],
                     u = before.scales[per_row ? r : 0] * before.q[i];
        dot += w * e;
        norm += w * w;
        effective += e * e;
        unconverted += u * u;
      }
      EXPECT_GE(dot / std::sqrt(norm * effective), 0.88) << r;
      EXPECT_NEAR(std::sqrt(effective / norm), 1.0, per_row ? 1e-4 : 0.05) << r;
      EXPECT_LT(std::sqrt(unconverted / norm), 0.9) << r << ": as it would be without";
    }
  }
}

TEST(KeepNormsOfTernary, ARowOfZerosStays) {
  std::vector<float> w(32, 0.0f);
  KeepNormsOfTernary(w.data(), 2, 16, true);
  EXPECT_EQ(w, std::vector<float>(32, 0.0f));
}

TEST(AsTernary, ConvertsWhatTheRuleQuantisesAndNothingElse) {
  ModelConfig config = *PresetConfig("nano");
  config.weight_rule = WeightRule::kNone;
  config.vocab = 264;
  RandomWeights plain(config, 3);
  ASSERT_OK_AND_ASSIGN(const auto ternary, AsTernary(std::make_unique<RandomWeights>(config, 3)));
  EXPECT_EQ(ternary->config().weight_rule, WeightRule::kAbsMean);
  EXPECT_EQ(ternary->config().activations, ActivationRule::kInt8);
  for (const ParameterSpec& parameter : ParameterTable(ternary->config())) {
    ASSERT_OK_AND_ASSIGN(const auto span, ternary->Get(parameter));
    std::vector<float> want(span.size());
    ASSERT_OK_AND_ASSIGN(const auto from, plain.Get(parameter));
    want.assign(from.begin(), from.end());
    if (parameter.kind == ParameterKind::kTernary)
      KeepNormsOfTernary(want.data(), parameter.shape[0], parameter.shape[1], true);
    EXPECT_EQ(std::vector<float>(span.begin(), span.end()), want) << parameter.name;
  }
  config.weight_rule = WeightRule::kAbsMean;
  EXPECT_THAT(AsTernary(std::make_unique<RandomWeights>(config, 3)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("leave --ternary out")));
}

}  // namespace
}  // namespace tritter
