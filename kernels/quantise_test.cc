#include "kernels/quantise.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace tritter {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<int8_t> Ternary(const std::vector<float>& w, float scale) {
  std::vector<int8_t> q(w.size(), 99);
  QuantiseTernary(w.data(), static_cast<int64_t>(w.size()), scale, q.data());
  return q;
}

TEST(QuantiseTernary, RoundsTiesToEvenAndClamps) {
  EXPECT_EQ(Ternary({0.f, -0.f, 1.f, -1.f, 1.0001f, -1.0001f, 3.f, -3.f, 5.f, 100.f, -100.f}, 2.0f),
            (std::vector<int8_t>{0, 0, 0, 0, 1, -1, 1, -1, 1, 1, -1}));
}

TEST(QuantiseTernary, NonFiniteWeightsGiveValidCodes) {
  EXPECT_EQ(Ternary({kNan, kInf, -kInf}, 1.0f), (std::vector<int8_t>{0, 1, -1}));
  EXPECT_EQ(Ternary({kNan, kInf, 2.0f}, kInf), (std::vector<int8_t>{0, 0, 0}));
  EXPECT_EQ(Ternary({1.0f, -1.0f}, kNan), (std::vector<int8_t>{0, 0}));
}

TEST(AbsMeanScale, GoldenValues) {
  const std::vector<float> w = {1.0f, -2.0f, 3.0f, -4.0f};
  EXPECT_EQ(AbsMeanScale(w.data(), 4), 2.5f);
  const std::vector<float> zeros(100, 0.0f);
  EXPECT_EQ(AbsMeanScale(zeros.data(), 100), 1e-5f);
  EXPECT_EQ(Ternary(zeros, 1e-5f), std::vector<int8_t>(100, 0));
  const std::vector<float> small(33, 1e-7f);
  EXPECT_EQ(AbsMeanScale(small.data(), 33), 1e-5f);
}

TEST(AbsMeanScale, NonFiniteRowsAreVisibleInTheScale) {
  const std::vector<float> with_nan = {1.0f, kNan, 2.0f}, with_inf = {1.0f, -kInf, 2.0f};
  EXPECT_TRUE(std::isnan(AbsMeanScale(with_nan.data(), 3)));
  EXPECT_EQ(AbsMeanScale(with_inf.data(), 3), kInf);
}

TEST(AbsMeanScale, SumFollowsTheDocumentedOrder) {
  // Values of very different size, so that another order gives other bits.
  std::mt19937 rng(3);
  std::vector<float> w(1003);
  for (float& v : w)
    v = std::ldexp(static_cast<float>(rng() % 100003), static_cast<int>(rng() % 80) - 40);
  double lanes[16] = {};
  for (size_t i = 0; i < w.size(); ++i) lanes[i % 16] += std::fabs(w[i]);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  EXPECT_EQ(AbsSum(w.data(), static_cast<int64_t>(w.size())), lanes[0]);
}

TEST(QuantiseWeights, PerRowAndPerTensorScales) {
  const std::vector<float> w = {1.0f, 1.0f,  0.4f, -0.1f,   //
                                8.0f, -2.0f, 0.0f, -6.0f};  //
  std::vector<int8_t> q(8);
  std::vector<float> scales(2);
  QuantiseWeights(w.data(), 2, 4, /*per_row=*/true, q.data(), scales.data());
  EXPECT_EQ(scales, (std::vector<float>{0.625f, 4.0f}));
  EXPECT_EQ(q, (std::vector<int8_t>{1, 1, 1, 0, 1, 0, 0, -1}));  // -2/4 is a tie: to 0
  scales = {0, -1};
  QuantiseWeights(w.data(), 2, 4, /*per_row=*/false, q.data(), scales.data());
  EXPECT_EQ(scales, (std::vector<float>{2.3125f, -1.0f}));
  EXPECT_EQ(q, (std::vector<int8_t>{0, 0, 0, 0, 1, -1, 0, -1}));
}

TEST(QuantiseWeights, AbsmeanLeaves69PercentOfGaussianWeightsNonzero) {
  // P(|z| > sqrt(2/pi)/2) = 0.6900.
  std::mt19937 rng(11);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  const int64_t rows = 128, cols = 4096;
  std::vector<float> w(rows * cols);
  for (float& v : w) v = normal(rng);
  std::vector<int8_t> q(w.size());
  std::vector<float> scales(rows);
  for (const bool per_row : {true, false}) {
    QuantiseWeights(w.data(), rows, cols, per_row, q.data(), scales.data());
    int64_t nonzero = 0;
    for (const int8_t v : q) nonzero += v != 0;
    EXPECT_NEAR(static_cast<double>(nonzero) / static_cast<double>(w.size()), 0.690, 0.002);
    EXPECT_NEAR(scales[0], 0.02 * std::sqrt(2 / M_PI), 0.001);
  }
}

TEST(QuantiseActivations, GoldenValuesWithTies) {
  // amax 127: a = 1, so x8 is the rounded value itself.
  const std::vector<float> x = {127.f, -127.f, 0.5f,   1.5f,   2.5f,  -0.5f,
                                -1.5f, -2.5f,  126.5f, 125.5f, 0.49f, -0.f};
  std::vector<int8_t> x8(x.size());
  EXPECT_EQ(QuantiseActivationsInt8(x.data(), static_cast<int64_t>(x.size()), x8.data()), 1.0f);
  EXPECT_EQ(x8, (std::vector<int8_t>{127, -127, 0, 2, 2, 0, -2, -2, 126, 126, 0, 0}));
}

TEST(QuantiseActivations, ZeroAndTinyRows) {
  std::vector<float> x(37, 0.0f);
  std::vector<int8_t> x8(x.size(), 1);
  EXPECT_EQ(QuantiseActivationsInt8(x.data(), 37, x8.data()), 1e-5f / 127.0f);
  EXPECT_EQ(x8, std::vector<int8_t>(37, 0));
  x[5] = -1e-6f;  // below the floor of 1e-5: a tenth of the range
  EXPECT_EQ(QuantiseActivationsInt8(x.data(), 37, x8.data()), 1e-5f / 127.0f);
  EXPECT_EQ(x8[5], -13);
}

TEST(QuantiseActivations, NonFiniteTokensGiveNanAndZeros) {
  for (const float bad : {kNan, -kNan, kInf, -kInf}) {
    std::vector<float> x = {1.0f, 2.0f, bad, 4.0f};
    std::vector<int8_t> x8(4, 1);
    EXPECT_TRUE(std::isnan(QuantiseActivationsInt8(x.data(), 4, x8.data())));
    EXPECT_EQ(x8, std::vector<int8_t>(4, 0));
  }
}

TEST(QuantiseActivations, AgreesWithRintForRandomRows) {
  std::mt19937 rng(5);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 2000; ++i) {
    const int64_t n = 1 + rng() % 100;
    const float size = std::ldexp(1.0f, static_cast<int>(rng() % 200) - 100);
    std::vector<float> x(n);
    for (float& v : x) v = normal(rng) * size;
    float amax = 1e-5f;
    for (const float v : x) amax = std::fmax(amax, std::fabs(v));
    std::vector<int8_t> x8(n);
    ASSERT_EQ(QuantiseActivationsInt8(x.data(), n, x8.data()), amax / 127.0f);
    const float a = 127.0f / amax;
    for (int64_t j = 0; j < n; ++j) {
      const float want = std::fmin(127.0f, std::fmax(-128.0f, std::nearbyintf(x[j] * a)));
      ASSERT_EQ(x8[j], static_cast<int>(want)) << x[j] << " of " << amax;
    }
  }
}

TEST(DequantiseDot, MultipliesInTheStatedOrder) {
  EXPECT_EQ(DequantiseDot(1000003, 0.1f, 0.3f), (1000003.0f * 0.1f) * 0.3f);
  EXPECT_TRUE(std::isnan(DequantiseDot(0, 1.0f, kNan)));
}

}  // namespace
}  // namespace tritter
