#include "kernels/row_quantised.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "gtest/gtest.h"

namespace tritter {
namespace {

using Floats = std::vector<float>;
constexpr RowFormat kFormats[] = {RowFormat::kInt8, RowFormat::kInt4};

Floats RandomFloats(std::mt19937& rng, int64_t n, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

struct Matrix {
  Matrix(std::mt19937& rng, RowFormat format, int64_t rows, int64_t cols)
      : codes(rows * QuantisedRowBytes(format, cols)), scales(rows) {
    for (int64_t r = 0; r < rows; ++r) {
      const Floats w = RandomFloats(rng, cols, 0.02f);
      scales[r] =
          QuantiseRowCodes(format, w.data(), cols, &codes[r * QuantisedRowBytes(format, cols)]);
    }
  }
  std::vector<uint8_t> codes;
  Floats scales;
};

struct Activations {
  Activations(std::mt19937& rng, int64_t tokens, int64_t cols)
      : x(RandomFloats(rng, tokens * cols, 3.0f)),
        hi(tokens * SplitStride(cols)),
        lo(hi.size()),
        inv(tokens) {
    for (int64_t t = 0; t < tokens; ++t) {
      inv[t] = SplitActivations(&x[t * cols], cols, &hi[t * SplitStride(cols)],
                                &lo[t * SplitStride(cols)]);
    }
  }
  SplitRows rows() const {
    return {hi.data(), lo.data(), inv.data(), static_cast<int64_t>(inv.size())};
  }
  Floats x;
  std::vector<int8_t> hi, lo;
  Floats inv;
};

TEST(RowQuantised, EveryInstructionSetGivesTheBitsOfTheDefinition) {
  std::mt19937 rng(1);
  for (int i = 0; i < 400; ++i) {
    const int64_t rows = 1 + rng() % 70, cols = 1 + rng() % 400, tokens = 1 + rng() % 11;
    const RowFormat format = kFormats[i % 2];
    const Matrix m(rng, format, rows, cols);
    const Activations a(rng, tokens, cols);
    Floats want(tokens * (rows + 2), 7.0f), w(cols);
    for (int64_t r = 0; r < rows; ++r) {
      ExpandRow(format, &m.codes[r * QuantisedRowBytes(format, cols)], 1.0f, cols, w.data());
      for (int64_t t = 0; t < tokens; ++t) {
        int64_t dot = 0;
        for (int64_t c = 0; c < cols; ++c) {
          const int64_t at = t * SplitStride(cols) + c;
          dot += static_cast<int64_t>(w[c]) * (256 * a.hi[at] + a.lo[at]);
        }
        want[t * (rows + 2) + r] =
            static_cast<float>(static_cast<double>(dot) * m.scales[r] * a.inv[t]);
      }
    }
    for (const RowQuantisedOps* ops : SupportedRowQuantisedOps()) {
      Floats got(want.size(), 7.0f);
      ops->multiply(format, m.codes.data(), m.scales.data(), rows, cols, a.rows(), got.data(),
                    rows + 2);
      ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * 4), 0)
          << ops->name << " " << rows << " x " << cols << ", tokens " << tokens;
    }
  }
}

TEST(RowQuantised, ManyTokensAndExtremesDoNotOverflow) {
  std::mt19937 rng(2);
  for (const RowFormat format : kFormats) {
    const int64_t cols = 65536, tokens = 70;
    Matrix m(rng, format, 1, cols);
    Activations a(rng, tokens, cols);
    for (const int code : {0x7f, 0x81, 0x00, 0xff}) {
      std::fill(m.codes.begin(), m.codes.end(), static_cast<uint8_t>(code));
      std::fill(a.hi.begin(), a.hi.end(), static_cast<int8_t>(code < 0x80 ? 127 : -127));
      std::fill(a.lo.begin(), a.lo.end(), static_cast<int8_t>(-128));
      Floats want(tokens);
      SupportedRowQuantisedOps().front()->multiply(format, m.codes.data(), m.scales.data(), 1, cols,
                                                   a.rows(), want.data(), 1);
      for (const RowQuantisedOps* ops : SupportedRowQuantisedOps()) {
        Floats got(tokens);
        ops->multiply(format, m.codes.data(), m.scales.data(), 1, cols, a.rows(), got.data(), 1);
        ASSERT_EQ(got, want) << ops->name << " code " << code;
      }
    }
  }
}

TEST(RowQuantised, ErrorsAreWithinTheirBounds) {
  std::mt19937 rng(3);
  for (const int64_t cols : {1, 40, 127, 128, 129, 2048}) {
    const Floats w = RandomFloats(rng, cols, 0.3f);
    float largest = 0;
    for (const float v : w) largest = std::max(largest, std::fabs(v));
    for (const RowFormat format : kFormats) {
      std::vector<uint8_t> codes(QuantisedRowBytes(format, cols));
      Floats back(cols);
      const float scale = QuantiseRowCodes(format, w.data(), cols, codes.data());
      ExpandRow(format, codes.data(), scale, cols, back.data());
      double error = 0, power = 0;
      for (int64_t c = 0; c < cols; ++c) {
        if (format == RowFormat::kInt8) ASSERT_LE(std::fabs(back[c] - w[c]), scale * 0.5001f);
        error += std::pow(back[c] - w[c], 2);
        power += std::pow(w[c], 2);
      }
      if (cols >= 128) EXPECT_LT(error / power, format == RowFormat::kInt8 ? 1e-4 : 0.025);
      EXPECT_LE(scale, largest / (format == RowFormat::kInt8 ? 127 : 7) * 1.0001f);
    }
    std::vector<int8_t> hi(SplitStride(cols)), lo(hi);
    const float inv = SplitActivations(w.data(), cols, hi.data(), lo.data());
    for (int64_t c = 0; c < cols; ++c)
      ASSERT_NEAR((256 * hi[c] + lo[c]) * inv, w[c], largest / 65000);
    for (size_t c = cols; c < hi.size(); ++c) ASSERT_EQ(hi[c] | lo[c], 0);
  }
}

TEST(RowQuantised, ZerosAreExactAndNanIsNeverHidden) {
  const int64_t cols = 130;
  Floats w(cols, 0.0f), back(cols, 1.0f);
  std::vector<int8_t> hi(SplitStride(cols)), lo(hi);
  for (const RowFormat format : kFormats) {
    std::vector<uint8_t> codes(QuantisedRowBytes(format, cols));
    w[7] = 0;
    float scale = QuantiseRowCodes(format, w.data(), cols, codes.data());
    EXPECT_GT(scale, 0);
    ExpandRow(format, codes.data(), scale, cols, back.data());
    EXPECT_EQ(back, w);
    for (const float bad : {NAN, INFINITY}) {
      w[7] = bad;
      EXPECT_TRUE(std::isnan(QuantiseRowCodes(format, w.data(), cols, codes.data())));
      EXPECT_TRUE(std::isnan(SplitActivations(w.data(), cols, hi.data(), lo.data())));
    }
  }
}

}  // namespace
}  // namespace tritter
