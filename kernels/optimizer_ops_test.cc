// Every instruction set against plain formulas in double; quantised moments bit for bit against the
// reference.
#include "kernels/optimizer_ops.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tritter {
namespace {

using Floats = std::vector<float>;

class OptimizerOpsTest : public ::testing::TestWithParam<const OptimizerOps*> {
 protected:
  const OptimizerOps& ops() { return *GetParam(); }
  // Values of many magnitudes, zeros among them.
  Floats Random(int64_t n, float decades = 0) {
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> exponent(-decades, 0);
    Floats v(n);
    for (float& x : v) x = normal(rng_) * std::pow(10.0f, exponent(rng_));
    return v;
  }
  std::mt19937 rng_{7};
};

TEST_P(OptimizerOpsTest, MuonMomentumIsNesterovs) {
  const int64_t n = 37;
  const Floats g = Random(n), m0 = Random(n);
  Floats m = m0, direction(n);
  ops().muon_momentum_rows(g.data(), n, 0.5f, 0.9f, m.data(), direction.data());
  for (int64_t i = 0; i < n; ++i) {
    const double want = 0.9 * m0[i] + 0.1 * 0.5 * g[i];
    EXPECT_NEAR(m[i], want, 1e-6);
    EXPECT_NEAR(direction[i], 0.9 * want + 0.1 * 0.5 * g[i], 1e-6);
  }
}

TEST_P(OptimizerOpsTest, MuonDecaysMovesAndAverages) {
  const int64_t n = 37;
  const Floats o = Random(n), w0 = Random(n);
  Floats w = w0, average = w0;
  ops().muon_apply_rows({1e-2f, 3.0f, 0.1f, 0.75f}, o.data(), n, w.data(), average.data());
  for (int64_t i = 0; i < n; ++i) {
    const double want = w0[i] * (1 - 1e-3) - 3e-2 * o[i];
    EXPECT_NEAR(w[i], want, 1e-6);
    EXPECT_NEAR(average[i], 0.75 * w0[i] + 0.25 * want, 1e-6);
  }
}

TEST_P(OptimizerOpsTest, AveragesWithTheBitsOfAStep) {
  for (const int64_t n : {1, 16, 37}) {
    const Floats o = Random(n);
    Floats w = Random(n), average = Random(n), alone = average;
    ops().muon_apply_rows({1e-2f, 3.0f, 0.1f, 0.75f}, o.data(), n, w.data(), average.data());
    ops().average_rows(0.75f, w.data(), n, alone.data());
    EXPECT_EQ(alone, average);
    ops().average_rows(1.0f, o.data(), n, alone.data());  // stays as it is
    EXPECT_EQ(alone, average);
  }
}

TEST_P(OptimizerOpsTest, QuantisesMomentsLikeTheReferenceBitForBit) {
  for (const bool is_signed : {true, false}) {
    const MomentMap& map = is_signed ? SignedMomentMap() : UnsignedMomentMap();
    for (int64_t n : {1, 15, 256, 257, 5000}) {
      Floats x = Random(n, 9);
      // The steps and the borders between them are the hard cases.
      for (int64_t i = 0; i + 1 < std::min<int64_t>(n, map.steps); ++i)
        x[i] = i % 2 == 0 ? map.middle[i] : map.step[i];
      if (n > 1) x[n / 2] = 0;
      if (!is_signed) {
        for (float& v : x) v = std::fabs(v);
      }
      std::vector<uint8_t> codes(n), want_codes(n);
      Floats scales(MomentBlocks(n)), want_scales(MomentBlocks(n));
      QuantiseMomentsReference(x.data(), n, is_signed, want_codes.data(), want_scales.data());
      ops().quantise_moments(map, x.data(), n, is_signed, codes.data(), scales.data());
      EXPECT_EQ(codes, want_codes) << n;
      EXPECT_EQ(scales, want_scales) << n;
      // What was read back is quantised to the same bits.
      Floats back(n);
      DequantiseMomentsReference(codes.data(), scales.data(), n, is_signed, back.data());
      ops().quantise_moments(map, back.data(), n, is_signed, codes.data(), scales.data());
      EXPECT_EQ(codes, want_codes) << n;
    }
  }
}

// As of AdamW with FP32 moments (training_ops_test.cc).
TEST_P(OptimizerOpsTest, AdamWWith8BitMomentsHasTheSameBitsWhereverMultiplyAddIsFused) {
  if (ops().name == std::string("baseline")) GTEST_SKIP() << "does not fuse multiply-add";
  const OptimizerOps& widest = *SupportedOptimizerOps().back();
  const int64_t n = 256 * 40 + 21;
  const AdamWStep step = {0.37f, 0.9f, 0.95f, 0.7f, 0.6f, 1e-8f, 1.3e-3f, 0.1f, 0.99f};
  const Floats g = Random(n, 4), m0 = Random(n, 4), w0 = Random(n);
  Floats r0 = Random(n, 4);
  for (float& x : r0) x = std::fabs(x);
  struct State {
    Floats w, average, m_scales, r_scales;
    std::vector<uint8_t> m_codes, r_codes;
  } states[2];
  for (int k = 0; k < 2; ++k) {
    State& s = states[k];
    s.w = s.average = w0;
    s.m_codes.resize(n);
    s.r_codes.resize(n);
    s.m_scales.resize(MomentBlocks(n));
    s.r_scales.resize(MomentBlocks(n));
    QuantiseMomentsReference(m0.data(), n, true, s.m_codes.data(), s.m_scales.data());
    QuantiseMomentsReference(r0.data(), n, false, s.r_codes.data(), s.r_scales.data());
    (k == 0 ? ops() : widest)
        .adamw8_rows(SignedMomentMap(), UnsignedMomentMap(), step, g.data(), n, s.w.data(),
                     {s.m_codes.data(), s.m_scales.data(), s.r_codes.data(), s.r_scales.data()},
                     s.average.data());
  }
  EXPECT_EQ(states[0].w, states[1].w);
  EXPECT_EQ(states[0].average, states[1].average);
  EXPECT_EQ(states[0].m_codes, states[1].m_codes);
  EXPECT_EQ(states[0].m_scales, states[1].m_scales);
  EXPECT_EQ(states[0].r_codes, states[1].r_codes);
  EXPECT_EQ(states[0].r_scales, states[1].r_scales);
}

TEST_P(OptimizerOpsTest, AdamWWith8BitMomentsIsAdamWBetweenReadingAndStoringThem) {
  const int64_t n = 256 * 3 + 21;
  const AdamWStep step = {0.5f, 0.9f, 0.95f, 0.7f, 0.6f, 1e-8f, 1e-2f, 0.1f, 0.75f};
  const Floats g = Random(n, 4), m0 = Random(n, 4), w0 = Random(n);
  Floats r0 = Random(n, 4);
  for (float& x : r0) x = std::fabs(x);
  std::vector<uint8_t> m_codes(n), r_codes(n);
  Floats m_scales(MomentBlocks(n)), r_scales(MomentBlocks(n)), m(n), r(n);
  QuantiseMomentsReference(m0.data(), n, true, m_codes.data(), m_scales.data());
  QuantiseMomentsReference(r0.data(), n, false, r_codes.data(), r_scales.data());
  DequantiseMomentsReference(m_codes.data(), m_scales.data(), n, true, m.data());
  DequantiseMomentsReference(r_codes.data(), r_scales.data(), n, false, r.data());
  Floats w = w0, average = w0;
  ops().adamw8_rows(SignedMomentMap(), UnsignedMomentMap(), step, g.data(), n, w.data(),
                    {m_codes.data(), m_scales.data(), r_codes.data(), r_scales.data()},
                    average.data());
  Floats want_m(n), want_r(n);
  for (int64_t i = 0; i < n; ++i) {
    const double gi = 0.5 * g[i], mi = 0.9 * m[i] + 0.1 * gi,
                 vi = 0.95 * r[i] * r[i] + 0.05 * gi * gi;
    const double wi = w0[i] * (1 - 1e-3) - 1e-2 * (mi / 0.7) / (std::sqrt(vi / 0.6) + 1e-8);
    EXPECT_NEAR(w[i], wi, 1e-5 * (std::fabs(wi) + 0.1)) << i;
    EXPECT_NEAR(average[i], 0.75 * w0[i] + 0.25 * wi, 1e-5 * (std::fabs(wi) + 0.1)) << i;
    want_m[i] = static_cast<float>(mi);
    want_r[i] = static_cast<float>(std::sqrt(vi));
  }
  const auto expect_codes = [&](const Floats& want, bool is_signed,
                                const std::vector<uint8_t>& codes, const Floats& scales) {
    std::vector<uint8_t> want_codes(n);
    Floats want_scales(MomentBlocks(n));
    QuantiseMomentsReference(want.data(), n, is_signed, want_codes.data(), want_scales.data());
    for (int64_t i = 0; i < n; ++i) {
      // The last bit may lie on the other side of a border.
      EXPECT_LE(std::abs(codes[i] - want_codes[i]), 1) << i;
      EXPECT_NEAR(scales[i / kMomentBlock], want_scales[i / kMomentBlock],
                  1e-5f * want_scales[i / kMomentBlock]);
    }
  };
  expect_codes(want_m, true, m_codes, m_scales);
  expect_codes(want_r, false, r_codes, r_scales);
  EXPECT_EQ(std::count(r_codes.begin(), r_codes.end(), 0), 0);
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, OptimizerOpsTest,
                         ::testing::ValuesIn(SupportedOptimizerOps()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(MomentMaps, CoverSevenDecades) {
  for (const MomentMap* map : {&SignedMomentMap(), &UnsignedMomentMap()}) {
    EXPECT_EQ(map->step[0], 0);
    EXPECT_EQ(map->step[map->steps - 1], 1);
    for (int i = 1; i < map->steps; ++i) EXPECT_LT(map->step[i - 1], map->step[i]);
  }
  EXPECT_EQ(SignedMomentMap().steps, 129);
  EXPECT_EQ(UnsignedMomentMap().steps, 256);
  EXPECT_NEAR(SignedMomentMap().step[1], 5.5e-7, 1e-12);
  EXPECT_NEAR(UnsignedMomentMap().step[1], 3.25e-7, 1e-12);
}

}  // namespace
}  // namespace tritter
