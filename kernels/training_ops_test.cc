// Every instruction set against plain formulas in double; the quantisers bit for bit against
// kernels/quantise.h.
#include "kernels/training_ops.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/quantise.h"

namespace tritter {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

Floats Random(std::mt19937& rng, int64_t n, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats v(n);
  for (float& x : v) x = normal(rng);
  return v;
}
Doubles Widen(const Floats& v) { return Doubles(v.begin(), v.end()); }

// ‖a - b‖ / ‖b‖.
double Error(const Floats& a, const Doubles& b) {
  double difference = 0, norm = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

class TrainingOpsTest : public ::testing::TestWithParam<const TrainingOps*> {
 protected:
  const TrainingOps& ops() { return *GetParam(); }
  std::mt19937 rng_{7};
};

TEST_P(TrainingOpsTest, RmsNormBackwardIsTheDerivativeOfTheNorm) {
  for (int64_t n : {1, 7, 16, 32, 50, 128}) {
    const int64_t rows = 5;
    const double eps = 1e-5;
    const Floats x = Random(rng_, rows * n, 2.0f), w = Random(rng_, n), dy = Random(rng_, rows * n);
    Floats dx(rows * n), dw(n, 0.5f);
    ops().rms_norm_backward_rows(x.data(), w.data(), dy.data(), eps, rows, n, dx.data(), dw.data());
    Doubles want_dx(rows * n), want_dw(n, 0.5);
    for (int64_t t = 0; t < rows; ++t) {
      double squares = 0, products = 0;
      for (int64_t i = 0; i < n; ++i) squares += double{x[t * n + i]} * x[t * n + i];
      const double r = 1.0 / std::sqrt(squares / n + eps);
      for (int64_t i = 0; i < n; ++i) products += double{dy[t * n + i]} * w[i] * x[t * n + i] * r;
      for (int64_t i = 0; i < n; ++i) {
        const double xhat = x[t * n + i] * r;
        want_dw[i] += dy[t * n + i] * xhat;
        want_dx[t * n + i] = r * (double{dy[t * n + i]} * w[i] - xhat * products / n);
      }
    }
    EXPECT_LT(Error(dw, want_dw), 1e-6) << n;
    if (n > 1)
      EXPECT_LT(Error(dx, want_dx), 2e-6) << n;  // with one element the derivative nearly vanishes
  }
}

TEST_P(TrainingOpsTest, LayerNormBackwardIsTheDerivativeOfTheNorm) {
  for (int64_t n : {2, 7, 16, 32, 50, 128}) {
    const int64_t rows = 5;
    const double eps = 1e-5;
    const Floats x = Random(rng_, rows * n, 2.0f), w = Random(rng_, n), dy = Random(rng_, rows * n);
    Floats dx(rows * n), dw(n, 0.5f), db(n, -0.5f);
    ops().layer_norm_backward_rows(x.data(), w.data(), dy.data(), eps, rows, n, dx.data(),
                                   dw.data(), db.data());
    Doubles want_dx(rows * n), want_dw(n, 0.5), want_db(n, -0.5);
    for (int64_t t = 0; t < rows; ++t) {
      const float* row = x.data() + t * n;
      double mean = 0, squares = 0, gradients = 0, products = 0;
      for (int64_t i = 0; i < n; ++i) mean += row[i] / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) squares += (row[i] - mean) * (row[i] - mean);
      const double r = 1.0 / std::sqrt(squares / n + eps);
      for (int64_t i = 0; i < n; ++i) {
        const double g = double{dy[t * n + i]} * w[i];
        gradients += g;
        products += g * (row[i] - mean) * r;
      }
      for (int64_t i = 0; i < n; ++i) {
        const double xhat = (row[i] - mean) * r;
        want_dw[i] += dy[t * n + i] * xhat;
        want_db[i] += dy[t * n + i];
        want_dx[t * n + i] =
            r * (double{dy[t * n + i]} * w[i] - gradients / n - xhat * products / n);
      }
    }
    EXPECT_LT(Error(dw, want_dw), 1e-6) << n;
    EXPECT_LT(Error(db, want_db), 1e-6) << n;
    if (n > 2)  // with two elements the derivative nearly vanishes
      EXPECT_LT(Error(dx, want_dx), 5e-6) << n;
  }
}

TEST_P(TrainingOpsTest, WeightsAreQuantisedToTheBitsOfTheSharedQuantiser) {
  for (int64_t n : {1, 15, 16, 100, 384}) {
    const int64_t rows = 9;
    Floats x = Random(rng_, rows * n, 3.0f);
    x[0] = 0.0f;
    Floats scales(rows), want_scales(rows);
    std::vector<int8_t> q(rows * n), want_q(rows * n);
    for (bool per_row : {true, false}) {
      ops().quantise_weight_rows(x.data(), rows, n, per_row, q.data(), scales.data());
      QuantiseWeights(x.data(), rows, n, per_row, want_q.data(), want_scales.data());
      EXPECT_EQ(q, want_q);
      EXPECT_EQ(scales, want_scales);
    }
  }
}

TEST_P(TrainingOpsTest, ScalesAreAppliedInTheOrderOfServing) {
  for (int64_t n : {3, 16, 41}) {
    const int64_t tokens = 4;
    std::vector<int32_t> acc(tokens * n);
    Floats from_float(tokens * n), y(tokens * n), z(tokens * n);
    for (size_t i = 0; i < acc.size(); ++i)
      from_float[i] = static_cast<float>(acc[i] = static_cast<int32_t>(rng_() % 100000) - 50000);
    const Floats scales = Random(rng_, n), inv = Random(rng_, tokens);
    for (bool per_row : {true, false}) {
      ops().apply_scales_rows(acc.data(), scales.data(), per_row, inv.data(), tokens, n, y.data());
      ops().apply_scales_float_rows(from_float.data(), scales.data(), per_row, inv.data(), tokens,
                                    n, z.data());
      for (int64_t i = 0; i < tokens * n; ++i) {
        ASSERT_EQ(y[i], DequantiseDot(acc[i], scales[per_row ? i % n : 0], inv[i / n]));
        ASSERT_EQ(z[i], y[i]);
      }
    }
    std::vector<int8_t> codes(tokens * n);
    for (int8_t& c : codes) c = static_cast<int8_t>(rng_());
    ops().dequantise_codes(codes.data(), inv.data(), true, tokens, n, y.data());
    for (int64_t i = 0; i < tokens * n; ++i)
      ASSERT_EQ(y[i], static_cast<float>(codes[i]) * inv[i / n]);
  }
}

TEST_P(TrainingOpsTest, GatedRelu2Backward) {
  const int64_t n = 37;
  const Floats gate = Random(rng_, n), up = Random(rng_, n), dh = Random(rng_, n);
  Floats dgate(n), dup(n);
  ops().relu2_mul_backward(gate.data(), up.data(), dh.data(), n, dgate.data(), dup.data());
  for (int64_t i = 0; i < n; ++i) {
    const float g = std::max(gate[i], 0.0f);
    EXPECT_FLOAT_EQ(dgate[i], dh[i] * up[i] * 2 * g);
    EXPECT_FLOAT_EQ(dup[i], dh[i] * g * g);
  }
}

TEST_P(TrainingOpsTest, CrossEntropyAndItsGradient) {
  for (int64_t vocabulary : {5, 16, 264}) {
    const int64_t tokens = 6;
    const double z_loss = 1e-2, scale = 0.25;
    Floats logits = Random(rng_, tokens * vocabulary, 4.0f);
    const Floats before = logits, weights = {1, 2, 0.5, 1, 0, 1};
    const std::vector<int64_t> targets = {0, vocabulary - 1, 3, -1, 2, 1};
    const double loss = ops().softmax_cross_entropy_rows(
        logits.data(), targets.data(), weights.data(), scale, z_loss, tokens, vocabulary);
    double want = 0;
    Doubles gradient(tokens * vocabulary, 0.0);
    for (int64_t t = 0; t < tokens; ++t) {
      if (targets[t] < 0) continue;
      double sum = 0;
      for (int64_t v = 0; v < vocabulary; ++v) sum += std::exp(double{before[t * vocabulary + v]});
      const double lse = std::log(sum);
      want += weights[t] * (lse - before[t * vocabulary + targets[t]] + z_loss * lse * lse);
      for (int64_t v = 0; v < vocabulary; ++v) {
        const double p = std::exp(before[t * vocabulary + v] - lse);
        gradient[t * vocabulary + v] =
            scale * weights[t] * (p * (1 + 2 * z_loss * lse) - (v == targets[t] ? 1 : 0));
      }
    }
    EXPECT_NEAR(loss, want, 1e-5 * std::abs(want));
    EXPECT_LT(Error(logits, gradient), 1e-6) << vocabulary;
  }
}

TEST_P(TrainingOpsTest, AdamWFollowsThePaper) {
  const int64_t n = 21;
  const Floats g = Random(rng_, n);
  Floats w = Random(rng_, n), m = Random(rng_, n), v = Random(rng_, n), average = w;
  for (float& x : v) x = std::abs(x);
  const Doubles w0 = Widen(w), m0 = Widen(m), v0 = Widen(v);
  const AdamWStep step = {0.5f, 0.9f, 0.95f, 0.7f, 0.6f, 1e-8f, 1e-2f, 0.1f, 0.75f};
  ops().adamw_rows(step, g.data(), n, w.data(), m.data(), v.data(), average.data());
  for (int64_t i = 0; i < n; ++i) {
    const double gi = 0.5 * g[i], mi = 0.9 * m0[i] + 0.1 * gi, vi = 0.95 * v0[i] + 0.05 * gi * gi;
    const double wi = w0[i] * (1 - 1e-3) - 1e-2 * (mi / 0.7) / (std::sqrt(vi / 0.6) + 1e-8);
    EXPECT_NEAR(m[i], mi, 1e-6);
    EXPECT_NEAR(v[i], vi, 1e-6);
    EXPECT_NEAR(w[i], wi, 1e-6);
    EXPECT_NEAR(average[i], 0.75 * w0[i] + 0.25 * wi, 1e-6);
  }
}

// Workers of one group keep the same bits of each weight, be their processors old or new: where
// multiply-add is fused, steps have the bits of the widest form (coordinator/decide/devices.h).
TEST_P(TrainingOpsTest, AdamWHasTheSameBitsWhereverMultiplyAddIsFused) {
  if (ops().name == std::string("baseline")) GTEST_SKIP() << "does not fuse multiply-add";
  const TrainingOps& widest = *SupportedTrainingOps().back();
  const int64_t n = 16 * 700 + 5;
  const Floats g = Random(rng_, n), m0 = Random(rng_, n), w0 = Random(rng_, n);
  Floats v0 = Random(rng_, n);
  for (float& x : v0) x = std::abs(x);
  const AdamWStep step = {0.37f, 0.9f, 0.95f, 0.7f, 0.6f, 1e-8f, 1.3e-3f, 0.1f, 0.99f};
  Floats w[2], m[2], v[2], average[2];
  for (int k = 0; k < 2; ++k) {
    w[k] = average[k] = w0;
    m[k] = m0;
    v[k] = v0;
    (k == 0 ? ops() : widest)
        .adamw_rows(step, g.data(), n, w[k].data(), m[k].data(), v[k].data(), average[k].data());
  }
  EXPECT_EQ(w[0], w[1]);
  EXPECT_EQ(m[0], m[1]);
  EXPECT_EQ(v[0], v[1]);
  EXPECT_EQ(average[0], average[1]);
}

TEST_P(TrainingOpsTest, SumOfSquares) {
  const Floats x = Random(rng_, 1003);
  double want = 0;
  for (float v : x) want += double{v} * v;
  EXPECT_NEAR(ops().sum_squares(x.data(), 1003), want, 1e-12 * want);
}

TEST_P(TrainingOpsTest, ThresholdRuleKeepsWhatIsLargerThanTheMean) {
  for (const bool per_row : {true, false}) {
    for (int64_t cols : {1, 5, 16, 50, 4096}) {
      const int64_t rows = 8;
      const Floats w = Random(rng_, rows * cols);
      std::vector<int8_t> q(rows * cols);
      ops().quantise_by_threshold(w.data(), rows, cols, per_row, q.data());
      const auto mean = [&](int64_t first, int64_t count) {
        double sum = 0;
        for (int64_t i = first; i < first + count; ++i) sum += std::fabs(double{w[i]});
        return sum / static_cast<double>(count);
      };
      Doubles means(rows);
      for (int64_t r = 0; r < rows; ++r)
        means[r] = per_row ? mean(r * cols, cols) : mean(0, rows * cols);
      int64_t kept = 0;
      for (int64_t i = 0; i < rows * cols; ++i) {
        const double m = means[i / cols];
        kept += q[i] != 0;
        if (std::fabs(std::fabs(double{w[i]}) - m) < 1e-6) continue;  // equal but for rounding
        ASSERT_EQ(q[i], std::fabs(double{w[i]}) > m ? (w[i] > 0 ? 1 : -1) : 0) << i;
      }
      // P(|x| > sqrt(2/pi)) of a normal number: 42.5 %.
      if (cols == 4096) EXPECT_NEAR(static_cast<double>(kept) / (rows * cols), 0.425, 0.01);
    }
  }
}

TEST_P(TrainingOpsTest, DotCodeRowsSumsEachRow) {
  for (int64_t cols : {1, 15, 16, 50, 200}) {
    const int64_t rows = 3;
    const Floats x = Random(rng_, rows * cols);
    std::vector<int8_t> q(rows * cols);
    for (int8_t& code : q) code = static_cast<int8_t>(rng_() % 3) - 1;
    Floats sums(rows);
    ops().dot_code_rows(q.data(), x.data(), rows, cols, sums.data());
    for (int64_t r = 0; r < rows; ++r) {
      double want = 0;
      for (int64_t i = r * cols; i < (r + 1) * cols; ++i) want += q[i] * double{x[i]};
      EXPECT_NEAR(sums[r], want, 1e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, TrainingOpsTest,
                         ::testing::ValuesIn(SupportedTrainingOps()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace tritter
