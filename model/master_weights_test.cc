#include "model/master_weights.h"

#include <cmath>

#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "kernels/quantise.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

TEST(MasterWeights, QuantiseBackToTheSameCodesAndScale) {
  Philox random(7);
  for (const int64_t n : {16, 999, 5000, 40000}) {
    for (const double share : {0.02, 0.3, 0.69, 1.0}) {
      for (int repeat = 0; repeat < 20; ++repeat) {
        std::vector<int8_t> q(n), again(n);
        for (int8_t& code : q) {
          code = random.Uniform() < share ? (random.Uniform() < 0.5 ? -1 : 1) : 0;
        }
        q[0] = q[3] = q[9] = 1;
        const float scale = static_cast<float>(std::exp(4 * random.Normal()) + 1e-4);
        std::vector<float> w(n);
        ASSERT_OK(MasterWeights(q.data(), n, scale, w.data()));
        float got = 0;
        QuantiseWeights(w.data(), 1, n, /*per_row=*/false, again.data(), &got);
        ASSERT_EQ(got, scale) << n << " " << share;
        ASSERT_EQ(again, q);
      }
    }
  }
}

TEST(MasterWeights, RefusesScalesThatNoMeanHas) {
  const std::vector<int8_t> q(8, 1), zero(8, 0);
  std::vector<float> w(8);
  EXPECT_THAT(MasterWeights(q.data(), 8, 1e-6f, w.data()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("1e-06")));
  EXPECT_OK(MasterWeights(zero.data(), 8, 1e-6f, w.data()));
  EXPECT_EQ(w, std::vector<float>(8, 0.0f));
}

TEST(MasterWeights, OfAMatrixHaveTheScaleOfEachRow) {
  Philox random(8);
  constexpr int64_t kRows = 5, kCols = 64;
  TernaryCodes codes;
  for (int64_t i = 0; i < kRows * kCols; ++i)
    codes.q.push_back(static_cast<int8_t>(random.Below(3)) - 1);
  for (int64_t r = 0; r < kRows; ++r)
    codes.scales.push_back(static_cast<float>(0.1 + random.Uniform()));
  std::vector<float> w, scales(kRows);
  std::vector<int8_t> q(codes.q.size());
  ASSERT_OK(MasterWeights(codes, kRows, kCols, &w));
  QuantiseWeights(w.data(), kRows, kCols, /*per_row=*/true, q.data(), scales.data());
  EXPECT_EQ(q, codes.q);
  EXPECT_EQ(scales, codes.scales);
  codes.scales[3] = 1e-9f;
  EXPECT_THAT(MasterWeights(codes, kRows, kCols, &w),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("row 3")));
}

}  // namespace
}  // namespace tritter
