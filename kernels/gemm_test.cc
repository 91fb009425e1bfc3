// Every form of the product against sums in double.
#include "kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace tritter {
namespace {

struct FreeAligned {
  void operator()(float* p) const { std::free(p); }
};
std::unique_ptr<float, FreeAligned> Scratch() {
  return std::unique_ptr<float, FreeAligned>(static_cast<float*>(
      std::aligned_alloc(64, (kGemmScratchFloats * sizeof(float) + 63) / 64 * 64)));
}

float Bf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof(bits));
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&v, &bits, sizeof(bits));
  return v;
}

// A random product, its operands as they lie in memory, with rows longer than needed.
struct Product {
  int64_t m, n, k;
  bool a_transposed, b_transposed, b_codes, k_scaled, n_scaled, accumulate;
  int64_t a_stride, b_stride, c_stride;
  std::vector<float> a, b, k_scale, n_scale, c;
  std::vector<int8_t> codes;

  explicit Product(std::mt19937* random, int64_t m_in, int64_t n_in, int64_t k_in)
      : m(m_in), n(n_in), k(k_in) {
    const auto flip = [&] { return (*random)() % 2 == 0; };
    a_transposed = flip();
    b_transposed = flip();
    b_codes = flip();
    k_scaled = flip();
    n_scaled = flip();
    accumulate = flip();
    a_stride = (a_transposed ? m : k) + static_cast<int64_t>((*random)() % 3);
    b_stride = (b_transposed ? k : n) + static_cast<int64_t>((*random)() % 3);
    c_stride = n + static_cast<int64_t>((*random)() % 3);
    std::normal_distribution<float> normal;
    const auto fill = [&](int64_t count) {
      std::vector<float> values(count);
      for (float& v : values) v = normal(*random);
      return values;
    };
    // Without slack behind the last row: reading beyond it is an error that the sanitizer sees.
    a = fill(((a_transposed ? k : m) - 1) * a_stride + (a_transposed ? m : k));
    const int64_t b_size = ((b_transposed ? n : k) - 1) * b_stride + (b_transposed ? k : n);
    b = fill(b_size);
    codes.resize(b_size);
    for (int8_t& q : codes) q = static_cast<int8_t>((*random)() % 255) - 127;
    k_scale = fill(k);
    n_scale = fill(n);
    c = fill((m - 1) * c_stride + n);
  }
  double A(int64_t i, int64_t p, bool bf16) const {
    float v = a_transposed ? a[p * a_stride + i] : a[i * a_stride + p];
    if (k_scaled) v *= k_scale[p];
    return bf16 ? Bf16(v) : v;
  }
  double B(int64_t p, int64_t j, bool bf16) const {
    const int64_t at = b_transposed ? j * b_stride + p : p * b_stride + j;
    const float v = b_codes ? static_cast<float>(codes[at]) : b[at];
    return bf16 ? Bf16(v) : v;
  }
  void Run(const GemmKernels& kernels, GemmType type, int64_t row, int64_t rows, int64_t column,
           int64_t columns, float* out) const {
    const auto scratch = Scratch();
    GemmOperand left{a.data() + row * (a_transposed ? 1 : a_stride), nullptr, a_stride,
                     a_transposed, k_scaled ? k_scale.data() : nullptr};
    const int64_t at = column * (b_transposed ? b_stride : 1);
    GemmOperand right{b_codes ? nullptr : b.data() + at, b_codes ? codes.data() + at : nullptr,
                      b_stride, b_transposed, nullptr};
    kernels.gemm(type, rows, columns, k, left, right,
                 {out + row * c_stride + column, c_stride, accumulate,
                  n_scaled ? n_scale.data() + column : nullptr},
                 scratch.get());
  }
  std::string Name() const {
    return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) +
           (a_transposed ? " At" : " A") + (b_transposed ? " Bt" : " B") +
           (b_codes ? " codes" : "") + (k_scaled ? " k" : "") + (n_scaled ? " n" : "") +
           (accumulate ? " +=" : "");
  }
};

class Gemms : public ::testing::TestWithParam<const GemmKernels*> {};

TEST_P(Gemms, AreTheSumsOfProducts) {
  std::mt19937 random(1);
  const int64_t sizes[] = {1, 2, 5, 13, 14, 15, 16, 17, 31, 32, 33, 47, 64, 100, 120};
  const int64_t depths[] = {1, 2, 3, 15, 16, 17, 32, 33, 64, 255, 256, 257, 511, 513, 700};
  for (int round = 0; round < 60; ++round) {
    const Product p(&random, sizes[random() % 15], sizes[random() % 15], depths[random() % 15]);
    for (const GemmType type : {GemmType::kFp32, GemmType::kBf16}) {
      const bool bf16 = type == GemmType::kBf16;
      std::vector<float> c = p.c;
      p.Run(*GetParam(), type, 0, p.m, 0, p.n, c.data());
      for (int64_t i = 0; i < p.m; ++i) {
        for (int64_t j = 0; j < p.n; ++j) {
          double sum = 0, size = 0;
          for (int64_t q = 0; q < p.k; ++q) {
            const double term = p.A(i, q, bf16) * p.B(q, j, bf16);
            sum += term;
            size += std::fabs(term);
          }
          const double factor = p.n_scaled ? p.n_scale[j] : 1.0;
          const double before = p.accumulate ? p.c[i * p.c_stride + j] : 0.0;
          ASSERT_NEAR(c[i * p.c_stride + j], before + sum * factor,
                      1e-6 * (std::fabs(before) + size * std::fabs(factor)) + 1e-30)
              << p.Name() << " at " << i << ", " << j << (bf16 ? " bf16" : "");
        }
        // What lies between the rows is untouched.
        for (int64_t j = p.n; j < p.c_stride && i + 1 < p.m; ++j)
          ASSERT_EQ(c[i * p.c_stride + j], p.c[i * p.c_stride + j]);
      }
    }
  }
}

TEST_P(Gemms, GiveTheSameBitsHoweverTheResultIsDivided) {
  std::mt19937 random(2);
  for (int round = 0; round < 12; ++round) {
    const Product p(&random, 90 + static_cast<int64_t>(random() % 30),
                    90 + static_cast<int64_t>(random() % 30), 600);
    for (const GemmType type : {GemmType::kFp32, GemmType::kBf16}) {
      std::vector<float> whole = p.c, parts = p.c;
      p.Run(*GetParam(), type, 0, p.m, 0, p.n, whole.data());
      const int64_t row = 1 + static_cast<int64_t>(random() % 80),
                    column = 1 + static_cast<int64_t>(random() % 80);
      p.Run(*GetParam(), type, 0, row, 0, column, parts.data());
      p.Run(*GetParam(), type, row, p.m - row, 0, column, parts.data());
      p.Run(*GetParam(), type, 0, p.m, column, p.n - column, parts.data());
      ASSERT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0)
          << p.Name();
    }
  }
}

TEST_P(Gemms, CarryNaNAndInfinity) {
  const auto scratch = Scratch();
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  for (const GemmType type : {GemmType::kFp32, GemmType::kBf16}) {
    for (const float bad : {nan, -nan, infinity}) {
      std::vector<float> a(40, 1.0f), b(40, 1.0f), c(4, 0.0f);
      a[7] = bad;
      GetParam()->gemm(type, 2, 2, 20, {a.data(), nullptr, 20}, {b.data(), nullptr, 2},
                       {c.data(), 2}, scratch.get());
      EXPECT_EQ(std::isnan(c[0]), std::isnan(bad));
      EXPECT_FALSE(std::isfinite(c[1]));
      EXPECT_EQ(c[2], 20.0f);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, Gemms, ::testing::ValuesIn(SupportedGemmKernels()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace tritter
