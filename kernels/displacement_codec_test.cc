#include "kernels/displacement_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace tritter {
namespace {

std::vector<float> Normal(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1e-3f);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

std::vector<float> RoundTrip(const std::vector<float>& x, std::vector<float>* residual) {
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<uint8_t> encoded(EncodedDisplacementBytes(n));
  EXPECT_EQ(EncodeDisplacement(x.data(), n, residual->data(), encoded.data()), -1);
  std::vector<float> decoded(n);
  DecodeDisplacement(encoded.data(), n, decoded.data());
  return decoded;
}

TEST(DisplacementCodec, TakesAByteAValueAndAFloatAChunk) {
  EXPECT_EQ(EncodedDisplacementBytes(0), 0);
  EXPECT_EQ(EncodedDisplacementBytes(1), 5);
  EXPECT_EQ(EncodedDisplacementBytes(kDisplacementChunk), kDisplacementChunk + 4);
  EXPECT_EQ(EncodedDisplacementBytes(kDisplacementChunk + 1), kDisplacementChunk + 9);
}

TEST(DisplacementCodec, RoundsToNearestTiesToEven) {
  // The scale is 1: the largest magnitude is 127.
  const std::vector<float> x = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 3.4999f, -3.5001f};
  std::vector<float> residual(x.size(), 0.0f);
  EXPECT_EQ(RoundTrip(x, &residual), (std::vector<float>{127, 0, 2, 2, 0, -2, -2, 3, -4}));
}

TEST(DisplacementCodec, IsOffByHalfAStepAtMostAndKeepsTheRest) {
  for (const int64_t n :
       {int64_t{1}, int64_t{7}, kDisplacementChunk, 5 * kDisplacementChunk + 13}) {
    const std::vector<float> x = Normal(n, 1);
    std::vector<float> residual(n, 0.0f);
    const std::vector<float> decoded = RoundTrip(x, &residual);
    for (int64_t first = 0; first < n; first += kDisplacementChunk) {
      const int64_t end = std::min(n, first + kDisplacementChunk);
      float largest = 0;
      for (int64_t i = first; i < end; ++i) largest = std::max(largest, std::fabs(x[i]));
      for (int64_t i = first; i < end; ++i) {
        EXPECT_LE(std::fabs(decoded[i] - x[i]), largest / 127 * 0.5001f) << i;
        EXPECT_EQ(residual[i], x[i] - decoded[i]) << i;
      }
    }
  }
}

// Whatever one round loses, the sum over many rounds does not.
TEST(DisplacementCodec, ErrorFeedbackKeepsTheSumOverRounds) {
  const int64_t n = 1000;
  std::vector<float> residual(n, 0.0f), plain_residual(n);
  std::vector<double> want(n, 0.0), with(n, 0.0), without(n, 0.0);
  const std::vector<float> drift = Normal(n, 2);
  for (uint32_t round = 0; round < 50; ++round) {
    std::vector<float> x = Normal(n, 100 + round);
    x[0] = 0.1f;  // an outlier that makes every step of its chunk coarse
    for (int64_t i = 0; i < n; ++i) x[i] += drift[i];
    const std::vector<float> decoded = RoundTrip(x, &residual);
    std::fill(plain_residual.begin(), plain_residual.end(), 0.0f);
    const std::vector<float> plain = RoundTrip(x, &plain_residual);
    for (int64_t i = 0; i < n; ++i) {
      want[i] += x[i];
      with[i] += decoded[i];
      without[i] += plain[i];
    }
  }
  double error_with = 0, error_without = 0;
  for (int64_t i = 0; i < n; ++i) {
    // What is missing is in the residual, up to rounding.
    EXPECT_NEAR(with[i] + residual[i], want[i], 1e-5) << i;
    error_with += std::fabs(with[i] - want[i]);
    error_without += std::fabs(without[i] - want[i]);
  }
  EXPECT_LT(error_with, 0.3 * error_without);
}

TEST(DisplacementCodec, ZerosAndTheSmallestNumbersStayInTheResidual) {
  std::vector<float> x(300, 0.0f), residual(300, 0.0f);
  x[7] = std::numeric_limits<float>::denorm_min();
  const std::vector<float> decoded = RoundTrip(x, &residual);
  EXPECT_EQ(decoded, std::vector<float>(300, 0.0f));
  EXPECT_EQ(residual, x);
}

TEST(DisplacementCodec, TakesTheLargestNumbers) {
  const float largest = std::numeric_limits<float>::max();
  std::vector<float> x = {largest, -largest, 0.0f}, residual(3, 0.0f);
  const std::vector<float> decoded = RoundTrip(x, &residual);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(std::isfinite(decoded[i]));
    EXPECT_NEAR(decoded[i] / largest, x[i] / largest, 1e-6);
  }
}

TEST(DisplacementCodec, RefusesWhatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), std::nanf("")}) {
    std::vector<float> x = Normal(1000, 3), residual(1000, 0.0f);
    x[700] = x[900] = bad;
    std::vector<uint8_t> encoded(EncodedDisplacementBytes(1000));
    EXPECT_EQ(EncodeDisplacement(x.data(), 1000, residual.data(), encoded.data()), 700) << bad;
  }
}

TEST(DisplacementCodec, TheSameValuesGiveTheSameBytes) {
  const std::vector<float> x = Normal(5000, 4);
  std::vector<uint8_t> first(EncodedDisplacementBytes(5000)), second = first;
  std::vector<float> residual(5000, 1e-5f), again(5000, 1e-5f);
  EncodeDisplacement(x.data(), 5000, residual.data(), first.data());
  EncodeDisplacement(x.data(), 5000, again.data(), second.data());
  EXPECT_EQ(first, second);
  EXPECT_EQ(std::memcmp(residual.data(), again.data(), 5000 * sizeof(float)), 0);
}

}  // namespace
}  // namespace tritter
