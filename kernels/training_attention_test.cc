// Attention of training against the plain formula in double, for every mask and instruction set.
#include "kernels/training_attention.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/attention_cases.h"

namespace tritter {
namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

Floats Random(std::mt19937& rng, int64_t n) {
  std::normal_distribution<float> normal;
  Floats x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

double Error(const Floats& got, const Doubles& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / norm);
}

// One group of heads with rows wider than they need be, and its results.
struct Call {
  Call(std::mt19937& rng, int64_t heads, int64_t d, int64_t length)
      : heads(heads),
        d(d),
        length(length),
        q_stride(heads * d + 3),
        stride((heads + 2) * d + 5),
        q(Random(rng, length * q_stride)),
        k(Random(rng, length * stride)),
        v(Random(rng, length * stride)),
        dout(Random(rng, length * q_stride)),
        out(length * q_stride, 0.0f),
        lse(heads * length),
        dq(length * stride, 0.0f),
        dk(length * stride, 0.0f),
        dv(length * stride, 0.0f) {}

  AttentionGroup Group(const AttentionMask& mask) const {
    return {heads, d, q.data(), k.data(), v.data(), q_stride, stride, stride, mask};
  }
  void Forward(const AttentionOps& ops, const AttentionMask& mask) {
    Floats scratch(AttentionScratch(length, d), NAN);  // whatever was there
    ops.forward(Group(mask), scratch.data(), out.data(), q_stride, lse.data());
  }
  void Backward(const AttentionOps& ops, const AttentionMask& mask) {
    Floats scratch(AttentionScratch(length, d), NAN);
    ops.backward(Group(mask), out.data(), q_stride, lse.data(), dout.data(), q_stride,
                 scratch.data(), dq.data(), dk.data(), dv.data(), stride);
  }

  int64_t heads, d, length, q_stride, stride;
  Floats q, k, v, dout, out, lse, dq, dk, dv;
};

struct Plain {
  Doubles out, lse, dq, dk, dv;
};
Plain PlainAttention(const Call& c, const AttentionCase& mode) {
  Plain p{Doubles(c.out.size(), 0.0), Doubles(c.lse.size()), Doubles(c.dq.size(), 0.0),
          Doubles(c.dk.size(), 0.0), Doubles(c.dv.size(), 0.0)};
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.d));
  for (int64_t h = 0; h < c.heads; ++h) {
    for (int64_t i = 0; i < c.length; ++i) {
      const int64_t row = i * c.q_stride + h * c.d;
      Doubles weight(c.length, 0.0), product(c.length, 0.0);
      double sum = 0, delta = 0;
      for (int64_t j = 0; j < c.length; ++j) {
        if (!mode.sees(i, j)) continue;
        double score = 0;
        for (int64_t x = 0; x < c.d; ++x) score += double{c.q[row + x]} * c.k[j * c.stride + x];
        sum += weight[j] = std::exp(score * scale);
      }
      p.lse[h * c.length + i] = std::log2(sum);
      for (int64_t j = 0; j < c.length; ++j) {
        if (!mode.sees(i, j)) continue;
        weight[j] /= sum;
        for (int64_t x = 0; x < c.d; ++x) {
          p.out[row + x] += weight[j] * c.v[j * c.stride + x];
          product[j] += double{c.dout[row + x]} * c.v[j * c.stride + x];
          p.dv[j * c.stride + x] += weight[j] * c.dout[row + x];
        }
        delta += weight[j] * product[j];
      }
      for (int64_t j = 0; j < c.length; ++j) {
        if (!mode.sees(i, j)) continue;
        const double g = weight[j] * (product[j] - delta) * scale;
        for (int64_t x = 0; x < c.d; ++x) {
          p.dq[i * c.stride + h * c.d + x] += g * c.k[j * c.stride + x];
          p.dk[j * c.stride + x] += g * c.q[row + x];
        }
      }
    }
  }
  return p;
}

class AttentionTest : public ::testing::TestWithParam<const AttentionOps*> {
 protected:
  const AttentionOps& ops() const { return *GetParam(); }
  void ExpectPlain(const AttentionCase& mode, int64_t heads, int64_t d) {
    SCOPED_TRACE(mode.name + ", heads " + std::to_string(heads) + ", d " + std::to_string(d));
    Call c(rng_, heads, d, mode.mask.length);
    c.Forward(ops(), mode.mask);
    c.Backward(ops(), mode.mask);
    const Plain want = PlainAttention(c, mode);
    EXPECT_LT(Error(c.out, want.out), 1e-6);
    for (size_t i = 0; i < want.lse.size(); ++i) EXPECT_NEAR(c.lse[i], want.lse[i], 1e-5);
    EXPECT_LT(Error(c.dv, want.dv), 1e-6);
    if (mode.mask.length == 1 || mode.mask.window == 1) return;  // no gradient but rounding
    EXPECT_LT(Error(c.dq, want.dq), 3e-6);
    EXPECT_LT(Error(c.dk, want.dk), 3e-6);
  }
  std::mt19937 rng_{7};
};

TEST_P(AttentionTest, EveryModeIsThePlainFormula) {
  for (const AttentionCase& mode : AttentionCases({1, 33, 100})) ExpectPlain(mode, 2, 32);
}
TEST_P(AttentionTest, EveryWidthOfAHeadIsThePlainFormula) {
  for (const AttentionCase& mode : AttentionCases({41})) {
    for (const int64_t d : {2, 24, 64, 80, 128}) ExpectPlain(mode, 1, d);
  }
}
TEST_P(AttentionTest, ManyTilesAreThePlainFormula) {
  for (const AttentionCase& mode : AttentionCases({150})) ExpectPlain(mode, 3, 4);
}

// Bit for bit: neither output nor any gradient depends on a key that the rule hides.
TEST_P(AttentionTest, AHiddenKeyChangesNothingAVisibleOneDoes) {
  for (const AttentionCase& mode : AttentionCases({21, 40})) {
    Call c(rng_, 1, 16, mode.mask.length);
    c.Forward(ops(), mode.mask);
    for (int64_t key = 0; key < c.length; ++key) {
      Call changed = c;
      for (int64_t x = 0; x < c.d; ++x) {
        changed.k[key * c.stride + x] += 3.0f;
        changed.v[key * c.stride + x] -= 2.0f;
      }
      changed.Forward(ops(), mode.mask);
      for (int64_t q = 0; q < c.length; ++q) {
        const auto row = [&](const Call& of) {
          return Floats(&of.out[q * c.q_stride], &of.out[q * c.q_stride] + c.d);
        };
        EXPECT_EQ(row(changed) != row(c), mode.sees(q, key))
            << mode.name << " query " << q << " key " << key;
      }
    }
  }
}
TEST_P(AttentionTest, GradientsAreExactlyZeroWhereNothingIsSeen) {
  for (const AttentionCase& mode : AttentionCases({21, 40})) {
    Call c(rng_, 1, 16, mode.mask.length);
    c.Forward(ops(), mode.mask);
    const Floats dout = c.dout;
    for (int64_t q = 0; q < c.length; ++q) {  // the gradient of one query's output
      c.dout.assign(dout.size(), 0.0f);
      for (int64_t x = 0; x < c.d; ++x) c.dout[q * c.q_stride + x] = dout[q * c.q_stride + x];
      c.Backward(ops(), mode.mask);
      for (int64_t t = 0; t < c.length; ++t) {
        const auto norm = [&](const Floats& gradient) {
          float most = 0;
          for (int64_t x = 0; x < c.d; ++x)
            most = std::fmax(most, std::fabs(gradient[t * c.stride + x]));
          return most;
        };
        EXPECT_EQ(norm(c.dv) > 0, mode.sees(q, t)) << mode.name << " " << q << " " << t;
        if (!mode.sees(q, t)) EXPECT_EQ(norm(c.dk), 0.0f) << mode.name << " " << q << " " << t;
        if (t != q) EXPECT_EQ(norm(c.dq), 0.0f) << mode.name << " " << q << " " << t;
      }
    }
  }
}

TEST_P(AttentionTest, ScoresOfAnySizeGiveFiniteWeightsAndNanIsKept) {
  Call c(rng_, 1, 16, 50);
  for (float& x : c.q) x *= 1e6f;
  c.Forward(ops(), {.length = 50});
  for (int64_t t = 0; t < 50; ++t) EXPECT_TRUE(std::isfinite(c.out[t * c.q_stride])) << t;
  c.k[20 * c.stride] = NAN;
  c.Forward(ops(), {.length = 50});
  EXPECT_TRUE(std::isfinite(c.out[19 * c.q_stride]));
  EXPECT_TRUE(std::isnan(c.out[20 * c.q_stride]));
}

TEST(AttentionScratch, IsLinearInTheLength) {
  const int64_t once = AttentionScratch(1 << 14, 64), twice = AttentionScratch(1 << 15, 64);
  EXPECT_LE(twice, 2 * once);
  EXPECT_LE(once, (1 << 14) * 64 * 6);
}

std::string SetName(const ::testing::TestParamInfo<const AttentionOps*>& set) {
  return set.param->name;
}
INSTANTIATE_TEST_SUITE_P(InstructionSets, AttentionTest,
                         ::testing::ValuesIn(SupportedAttentionOps()), SetName);

}  // namespace
}  // namespace tritter
