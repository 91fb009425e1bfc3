// Against plain formulas in double, and every instruction set against the baseline, bit for bit.
#include "kernels/float_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace tritter {
namespace {

using Floats = std::vector<float>;

Floats RandomFloats(std::mt19937& rng, int64_t n, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

template <typename T>
::testing::AssertionResult SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size())
    return ::testing::AssertionFailure() << a.size() << " and " << b.size() << " elements";
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0) {
      return ::testing::AssertionFailure() << "element " << i << ": " << +a[i] << " and " << +b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

// Everything that one instruction set computes from one seed.
struct Outputs {
  Floats f;
  std::vector<int8_t> codes;
  void Add(const Floats& v) { f.insert(f.end(), v.begin(), v.end()); }
};

Outputs RunAll(const FloatOps& ops, uint32_t seed) {
  std::mt19937 rng(seed);
  auto size = [&](int64_t max) { return std::uniform_int_distribution<int64_t>(1, max)(rng); };
  Outputs out;
  const int64_t rows = size(5), n = size(200), stride = (n + 15) / 16 * 16;
  const Floats x = RandomFloats(rng, rows * n, 3.0f), w = RandomFloats(rng, n);
  Floats y(rows * n), inv(rows);
  ops.rms_norm_rows(x.data(), w.data(), 1e-5f, rows, n, y.data());
  out.Add(y);
  const Floats b = RandomFloats(rng, n);
  ops.layer_norm_rows(x.data(), w.data(), b.data(), 1e-5f, rows, n, y.data());
  out.Add(y);
  std::vector<int8_t> x8(rows * stride, 99);
  ops.rms_norm_quantise_rows(x.data(), w.data(), 1e-5f, rows, n, x8.data(), stride, inv.data());
  out.Add(inv);
  out.codes = x8;
  ops.quantise_rows(x.data(), rows, n, x8.data(), stride, inv.data());
  out.Add(inv);
  out.codes.insert(out.codes.end(), x8.begin(), x8.end());
  std::vector<int32_t> acc(n);
  for (int32_t& a : acc) a = static_cast<int32_t>(rng());
  y.resize(n);
  ops.dequantise_row(acc.data(), w.data(), true, inv[0], n, y.data());
  out.Add(y);
  ops.dequantise_row(acc.data(), w.data(), false, inv[0], n, y.data());
  out.Add(y);
  ops.add_row(x.data(), n, y.data());
  out.Add(y);
  {  // the fused epilogues are the plain ones, one after the other
    const int64_t tokens = size(3);
    std::vector<int32_t> a(tokens * (n + 3)), b(tokens * (n + 3));
    for (int32_t& v : a) v = static_cast<int32_t>(rng() % 100000) - 50000;
    for (int32_t& v : b) v = static_cast<int32_t>(rng() % 100000) - 50000;
    const Floats invs = RandomFloats(rng, tokens);
    for (const bool per_row : {true, false}) {
      const DequantiseTile gate = {a.data(), n + 3, tokens, n, w.data(), per_row, invs.data()},
                           up = {b.data(), n + 3, tokens, n, w.data(), !per_row, invs.data()};
      Floats set(tokens * n), added = RandomFloats(rng, tokens * n), gated(tokens * n);
      Floats wanted_set = set, wanted_added = added, wanted_gated = gated, second(n);
      ops.dequantise_into(gate, false, set.data(), n);
      ops.dequantise_into(gate, true, added.data(), n);
      ops.dequantise_gated(gate, up, gated.data(), n);
      for (int64_t t = 0; t < tokens; ++t) {
        ops.dequantise_row(&a[t * (n + 3)], w.data(), per_row, invs[t], n, &wanted_set[t * n]);
        ops.add_row(&wanted_set[t * n], n, &wanted_added[t * n]);
        ops.dequantise_row(&b[t * (n + 3)], w.data(), !per_row, invs[t], n, second.data());
        ops.relu2_mul(&wanted_set[t * n], second.data(), n, &wanted_gated[t * n]);
      }
      EXPECT_TRUE(SameBits(set, wanted_set));
      EXPECT_TRUE(SameBits(added, wanted_added));
      EXPECT_TRUE(SameBits(gated, wanted_gated));
      out.Add(gated);
      ops.dequantise_silu_gated(gate, up, gated.data(), n);
      for (int64_t t = 0; t < tokens; ++t) {
        Floats row(&wanted_set[t * n], &wanted_set[t * n] + n), weight = row;
        for (float& g : weight) g = -g;
        ops.exp_row(weight.data(), n, weight.data());
        ops.dequantise_row(&b[t * (n + 3)], w.data(), !per_row, invs[t], n, second.data());
        for (int64_t i = 0; i < n; ++i)
          wanted_gated[t * n + i] = row[i] / (weight[i] + 1.0f) * second[i];
      }
      EXPECT_TRUE(SameBits(gated, wanted_gated));
      out.Add(gated);
    }
  }
  ops.relu2_mul(x.data(), w.data(), n, y.data());
  out.Add(y);
  const Floats wide = RandomFloats(rng, n, 40.0f);
  ops.exp_row(wide.data(), n, y.data());
  out.Add(y);
  const int64_t d = 2 * size(70), positions = size(150);
  const Floats table = RandomFloats(rng, d);
  Floats q = RandomFloats(rng, d);
  ops.rope_in_place(q.data(), table.data(), table.data() + d / 2, d);
  out.Add(q);
  const Floats k = RandomFloats(rng, positions * d), v = RandomFloats(rng, positions * d);
  Floats scratch((positions + 15) / 16 * 16), head(d);
  ops.attend_row(q.data(), k.data(), v.data(), d, positions, d, scratch.data(), head.data());
  out.Add(head);
  const int64_t vocab = size(11), tokens = size(9);
  const Floats weights = RandomFloats(rng, vocab * n), hidden = RandomFloats(rng, tokens * n);
  Floats logits(tokens * vocab);
  ops.dot_rows(weights.data(), vocab, hidden.data(), n, tokens, n, logits.data(), vocab);
  out.Add(logits);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < vocab; ++r) {
      EXPECT_EQ(logits[t * vocab + r], ops.dot_row(&weights[r * n], &hidden[t * n], n));
    }
  }
  return out;
}

TEST(FloatOps, EveryInstructionSetGivesTheBitsOfTheBaseline) {
  const std::vector<const FloatOps*> all = SupportedFloatOps();
  for (uint32_t seed = 0; seed < 500; ++seed) {
    const Outputs expected = RunAll(*all[0], seed);
    for (size_t i = 1; i < all.size(); ++i) {
      const Outputs actual = RunAll(*all[i], seed);
      ASSERT_TRUE(SameBits(expected.f, actual.f)) << all[i]->name << " seed " << seed;
      ASSERT_TRUE(SameBits(expected.codes, actual.codes)) << all[i]->name << " seed " << seed;
    }
  }
}

TEST(FloatOps, RmsNormMatchesItsFormula) {
  std::mt19937 rng(1);
  for (int64_t n : {1, 15, 16, 17, 128, 1000}) {
    const Floats x = RandomFloats(rng, 3 * n, 2.0f), w = RandomFloats(rng, n);
    Floats y = x;
    RmsNormRows(y.data(), w.data(), 1e-5f, 3, n, y.data());
    for (int64_t t = 0; t < 3; ++t) {
      double squares = 0;
      for (int64_t i = 0; i < n; ++i) squares += double{x[t * n + i]} * x[t * n + i];
      for (int64_t i = 0; i < n; ++i) {
        const double expected = x[t * n + i] / std::sqrt(squares / n + 1e-5) * w[i];
        ASSERT_NEAR(y[t * n + i], expected, 2e-6 * std::abs(expected) + 1e-12);
      }
    }
  }
}

TEST(FloatOps, LayerNormMatchesItsFormula) {
  std::mt19937 rng(1);
  for (int64_t n : {2, 15, 16, 17, 128, 1000}) {
    Floats x = RandomFloats(rng, 3 * n, 2.0f);
    for (float& v : x) v += 5.0f;
    const Floats w = RandomFloats(rng, n), b = RandomFloats(rng, n);
    Floats y = x;
    LayerNormRows(y.data(), w.data(), b.data(), 1e-5f, 3, n, y.data());
    for (int64_t t = 0; t < 3; ++t) {
      double mean = 0, squares = 0;
      for (int64_t i = 0; i < n; ++i) mean += x[t * n + i] / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) squares += (x[t * n + i] - mean) * (x[t * n + i] - mean);
      const double r = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      for (int64_t i = 0; i < n; ++i) {
        const double expected = (x[t * n + i] - mean) * r * w[i] + b[i];
        ASSERT_NEAR(y[t * n + i], expected, 1e-5 * (1 + std::abs(expected))) << n;
      }
    }
  }
}

TEST(FloatOps, FusedNormAndQuantiserEqualsTheTwoSteps) {
  std::mt19937 rng(2);
  for (int64_t n : {1, 16, 31, 128, 500}) {
    const int64_t stride = (n + 63) / 64 * 64;
    const Floats x = RandomFloats(rng, 4 * n), w = RandomFloats(rng, n);
    Floats y(4 * n), inv_a(4), inv_b(4);
    std::vector<int8_t> a(4 * stride, 1), b(4 * stride, 2);
    RmsNormRows(x.data(), w.data(), 1e-5f, 4, n, y.data());
    QuantiseRows(y.data(), 4, n, a.data(), stride, inv_a.data());
    RmsNormQuantiseRows(x.data(), w.data(), 1e-5f, 4, n, b.data(), stride, inv_b.data());
    EXPECT_TRUE(SameBits(a, b));
    EXPECT_TRUE(SameBits(inv_a, inv_b));
  }
}

TEST(FloatOps, QuantiserRoundsHalfToEvenAndPadsWithZeros) {
  const Floats x = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127.0f, 0.0f};
  std::vector<int8_t> x8(16, 77);
  float inv = 0;
  QuantiseRows(x.data(), 1, 8, x8.data(), 16, &inv);
  EXPECT_EQ(inv, 1.0f);
  const std::vector<int8_t> expected = {127, 0, 2, 2, 0, -2, -127, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_TRUE(SameBits(x8, expected));
}

TEST(FloatOps, ARowOfZerosQuantisesToZeros) {
  const Floats x(20, 0.0f);
  std::vector<int8_t> x8(32, 5);
  float inv = 0;
  QuantiseRows(x.data(), 1, 20, x8.data(), 32, &inv);
  EXPECT_EQ(inv, 1e-5f / 127.0f);
  EXPECT_TRUE(SameBits(x8, std::vector<int8_t>(32, 0)));
}

TEST(FloatOps, ExpIsWithinTwoUlp) {
  double worst = 0;
  for (float start : {-87.3f, -20.0f, -1.0f, 0.0f, 30.0f, 80.0f}) {
    for (int i = 0; i < 20000; ++i) {
      const float x = start + static_cast<float>(i) * 4e-4f;
      float y = 0;
      ExpRow(&x, 1, &y);
      const double expected = std::exp(double{x});
      const float rounded = static_cast<float>(expected);
      const double ulp = std::nextafter(rounded, std::numeric_limits<float>::infinity()) - rounded;
      worst = std::max(worst, std::abs(y - expected) / ulp);
    }
  }
  EXPECT_LE(worst, 2.0);
}

TEST(FloatOps, ExpOfExtremes) {
  const float inf = std::numeric_limits<float>::infinity();
  const Floats x = {0.0f, -inf, -1000.0f, -88.0f, inf, std::nanf("")};
  Floats y(x.size());
  ExpRow(x.data(), static_cast<int64_t>(x.size()), y.data());
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_EQ(y[3], 0.0f);
  EXPECT_GT(y[4], 3.3e38f);
  EXPECT_TRUE(std::isfinite(y[4]));
  EXPECT_TRUE(std::isnan(y[5]));
}

TEST(FloatOps, AttentionMatchesItsFormula) {
  std::mt19937 rng(3);
  for (int64_t d : {2, 32, 64, 80, 128}) {
    for (int64_t positions : {1, 15, 16, 17, 100}) {
      const int64_t stride = 2 * d + 3;
      const Floats q = RandomFloats(rng, d, 2.0f);
      const Floats k = RandomFloats(rng, positions * stride),
                   v = RandomFloats(rng, positions * stride);
      Floats scratch(positions + 15), out(d);
      AttendRow(q.data(), k.data(), v.data(), stride, positions, d, scratch.data(), out.data());
      std::vector<double> weight(positions);
      double max = -1e300, sum = 0;
      for (int64_t p = 0; p < positions; ++p) {
        for (int64_t i = 0; i < d; ++i)
          weight[p] += double{q[i]} * k[p * stride + i] / std::sqrt(double(d));
        max = std::max(max, weight[p]);
      }
      for (double& w : weight) sum += (w = std::exp(w - max));
      for (int64_t i = 0; i < d; ++i) {
        double expected = 0;
        for (int64_t p = 0; p < positions; ++p) expected += weight[p] / sum * v[p * stride + i];
        ASSERT_NEAR(out[i], expected, 1e-5);
      }
    }
  }
}

TEST(FloatOps, HugeScoresStayFinite) {
  const Floats q(4, 1e18f), k = {1e18f, 1e18f, 1e18f, 1e18f, 0, 0, 0, 0},
                            v = {1, 2, 3, 4, 9, 9, 9, 9};
  Floats scratch(16), out(4);
  AttendRow(q.data(), k.data(), v.data(), 4, 2, 4, scratch.data(), out.data());
  EXPECT_EQ(out, (Floats{1, 2, 3, 4}));
}

TEST(FloatOps, RopeTurnsPairsOfTheTwoHalves) {
  Floats cos(2 * 2), sin(2 * 2);
  RopeTable(10000.0, 4, 5, 2, cos.data(), sin.data());
  EXPECT_FLOAT_EQ(cos[0], std::cos(5.0f));
  EXPECT_FLOAT_EQ(sin[3], static_cast<float>(std::sin(6.0 * 0.01)));
  Floats x = {1, 2, 3, 4};
  RopeInPlace(x.data(), cos.data(), sin.data(), 4);
  EXPECT_FLOAT_EQ(x[0], 1 * cos[0] - 3 * sin[0]);
  EXPECT_FLOAT_EQ(x[2], 3 * cos[0] + 1 * sin[0]);
  EXPECT_FLOAT_EQ(x[1], 2 * cos[1] - 4 * sin[1]);
  EXPECT_FLOAT_EQ(x[3], 4 * cos[1] + 2 * sin[1]);
}

TEST(FloatOps, ShiftingEveryPositionLeavesRotatedProductsUnchanged) {
  std::mt19937 rng(6);
  const int64_t d = 32;
  const Floats q0 = RandomFloats(rng, d), k0 = RandomFloats(rng, d);
  Floats dots;
  for (int64_t shift : {0, 1, 100, 2000}) {
    Floats cos(d / 2 * 8), sin(d / 2 * 8), q = q0, k = k0;
    RopeTable(500000.0, d, shift, 8, cos.data(), sin.data());
    RopeInPlace(q.data(), &cos[7 * d / 2], &sin[7 * d / 2], d);
    RopeInPlace(k.data(), &cos[2 * d / 2], &sin[2 * d / 2], d);
    dots.push_back(DotRow(q.data(), k.data(), d));
  }
  for (float dot : dots) EXPECT_NEAR(dot, dots[0], 2e-5);
}

}  // namespace
}  // namespace tritter
