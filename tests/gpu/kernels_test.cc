// Every CUDA kernel against the plain formulas on the same numbers.
#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/gpu/gpu_main.h"
#include "worker/training/formula/tensor_kernels.h"

namespace tritter {
namespace {

constexpr double kEps = 1e-5;

// Widths that are loaded in packs, that are not, and that shared memory does not hold.
struct Shape {
  int64_t rows, n;
};
const Shape kShapes[] = {{1, 64}, {37, 1024}, {40, 50}, {5, 13}, {1100, 768}, {3, 13824}};

class KernelsTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  const TensorKernels& cuda_ = *GpuUnderTest(false).kernels;
  const TensorKernels plain_;

  void SetUp() override { at::manual_seed(7); }
  // On the GPU, exact in the type under test.
  at::Tensor Random(at::IntArrayRef shape) { return at::randn(shape).to(GetParam()).to(at::kCUDA); }
  static at::Tensor Weight(int64_t n) { return (at::rand({n}) + 0.5).to(at::kCUDA); }
  double tolerance() const { return GetParam() == at::kFloat ? 2e-6 : 4e-3; }

  static double Difference(const at::Tensor& a, const at::Tensor& b) {
    return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / (b.to(at::kDouble).norm() + 1e-30))
        .item<double>();
  }
  void ExpectClose(const at::Tensor& actual, const at::Tensor& expected, const Shape& shape) {
    EXPECT_EQ(actual.scalar_type(), expected.scalar_type());
    EXPECT_EQ(actual.sizes(), expected.sizes());
    EXPECT_LT(Difference(actual, expected), tolerance()) << shape.rows << " x " << shape.n;
  }
  // Codes may differ by one where rounding decides, in few places.
  static void ExpectCodes(const at::Tensor& actual, const at::Tensor& expected) {
    const at::Tensor apart = (actual.to(at::kInt) - expected.to(at::kInt)).abs();
    EXPECT_LE(apart.max().item<int>(), 1);
    EXPECT_LE(apart.sum().item<double>(), 1 + 1e-3 * static_cast<double>(apart.numel()));
  }
};

TEST_P(KernelsTest, QuantiseRows) {
  for (const Shape& shape : kShapes) {
    const at::Tensor x = Random({shape.rows, shape.n});
    for (const at::Tensor& norm : {at::Tensor(), Weight(shape.n)}) {
      const QuantisedRows a = cuda_.QuantiseRows(x, norm, kEps),
                          b = plain_.QuantiseRows(x, norm, kEps);
      ExpectCodes(a.codes, b.codes);
      EXPECT_LT(Difference(a.factor, b.factor), 1e-6);
    }
  }
}

TEST_P(KernelsTest, QuantiseRowsOfNothingButZerosAndOfNaN) {
  const at::Tensor zeros = at::zeros({2, 64}, Random({1}).options());
  EXPECT_EQ(cuda_.QuantiseRows(zeros, {}, kEps).codes.abs().max().item<int>(), 0);
  zeros[1][5] = NAN;
  const QuantisedRows rows = cuda_.QuantiseRows(zeros, {}, kEps);
  EXPECT_TRUE(std::isfinite(rows.factor[0].item<float>()));
  EXPECT_TRUE(std::isnan(rows.factor[1].item<float>()));
}

TEST_P(KernelsTest, QuantiseMatrix) {
  for (const Shape& shape : kShapes) {
    if (shape.rows < 3) continue;
    const at::Tensor w = at::randn({shape.rows, shape.n}).to(at::kCUDA), scale = Weight(shape.rows);
    for (WeightRule rule : {WeightRule::kAbsMean, WeightRule::kThreshold}) {
      for (ScaleGranularity granularity : {ScaleGranularity::kRow, ScaleGranularity::kTensor}) {
        ModelConfig config;
        config.weight_rule = rule;
        config.granularity = granularity;
        const std::vector<int64_t> parts = {1, shape.rows - 1};
        const QuantisedRows a = cuda_.QuantiseMatrix(w, parts, config, scale),
                            b = plain_.QuantiseMatrix(w, parts, config, scale);
        ExpectCodes(a.codes, b.codes);
        EXPECT_LT(Difference(a.factor, b.factor), 1e-6);
      }
    }
  }
}

TEST_P(KernelsTest, ProductsOfCodesAreExact) {
  for (const Shape& shape : {Shape{64, 512}, Shape{3, 512}, Shape{40, 50}}) {
    const QuantisedRows x = plain_.QuantiseRows(Random({shape.rows, shape.n}), {}, kEps),
                        w = plain_.QuantiseMatrix(at::randn({48, shape.n}).to(at::kCUDA), {48}, {},
                                                  {});
    ExpectClose(cuda_.QuantisedProduct(x, w, GetParam()), plain_.QuantisedProduct(x, w, GetParam()),
                shape);
    const at::Tensor ones = at::ones_like(x.factor);
    EXPECT_TRUE(
        cuda_.QuantisedProduct({x.codes, ones}, {w.codes, at::ones_like(w.factor)}, at::kFloat)
            .equal(at::mm(x.codes.to(at::kDouble), w.codes.to(at::kDouble).t()).to(at::kFloat)));
  }
}

TEST_P(KernelsTest, FloatProducts) {
  const at::Tensor a = Random({72, 136}), b = Random({136, 40});
  const at::Tensor expected = at::mm(a.to(at::kDouble), b.to(at::kDouble));
  EXPECT_LT(Difference(cuda_.FloatProduct(a, b), expected), 1e-5);
  const at::Tensor out = at::ones({72, 40}, a.options().dtype(at::kFloat));
  cuda_.FloatProductInto(a, b, false, out);
  EXPECT_LT(Difference(out, expected), 1e-5);
  cuda_.FloatProductInto(a, b, true, out);
  EXPECT_LT(Difference(out, 2 * expected), 1e-5);
}

TEST_P(KernelsTest, Dequantise) {
  for (const Shape& shape : kShapes) {
    const QuantisedRows rows = plain_.QuantiseRows(Random({shape.rows, shape.n}), {}, kEps);
    ExpectClose(cuda_.Dequantise(rows, GetParam()), plain_.Dequantise(rows, GetParam()), shape);
  }
}

TEST_P(KernelsTest, RmsNormAndItsGradient) {
  for (const Shape& shape : kShapes) {
    const at::Tensor x = Random({shape.rows, shape.n}), dy = Random({shape.rows, shape.n}),
                     weight = Weight(shape.n);
    ExpectClose(cuda_.RmsNorm(x, weight, kEps), plain_.RmsNorm(x, weight, kEps), shape);
    const auto a = cuda_.RmsNormBackward(x, weight, kEps, dy),
               b = plain_.RmsNormBackward(x, weight, kEps, dy);
    ExpectClose(a.first, b.first, shape);
    EXPECT_LT(Difference(a.second, b.second), 1e-5);
  }
}

TEST_P(KernelsTest, PlaceHeadsAndItsGradient) {
  for (int64_t dim : {6, 64, 128, 256}) {
    const HeadShape shape = {4, 2, dim};
    const int64_t tokens = 3 * 11;
    const at::Tensor qkv = Random({tokens, 8 * dim}), dqk = Random({tokens, 6 * dim}),
                     dv = Random({tokens, 2 * dim});
    const at::Tensor angle = at::rand({11, dim / 2}).to(at::kCUDA), cos = angle.cos(),
                     sin = angle.sin();
    for (bool normed : {false, true}) {
      const at::Tensor q_norm = normed ? Weight(dim) : at::Tensor(),
                       k_norm = normed ? Weight(dim) : at::Tensor();
      ExpectClose(cuda_.PlaceHeads(qkv, shape, q_norm, k_norm, kEps, cos, sin),
                  plain_.PlaceHeads(qkv, shape, q_norm, k_norm, kEps, cos, sin), {tokens, dim});
      const auto a = cuda_.PlaceHeadsBackward(qkv, shape, q_norm, k_norm, kEps, cos, sin, dqk, dv);
      const auto b = plain_.PlaceHeadsBackward(qkv, shape, q_norm, k_norm, kEps, cos, sin, dqk, dv);
      ExpectClose(a.qkv, b.qkv, {tokens, dim});
      if (!normed) continue;
      EXPECT_LT(Difference(a.q_norm, b.q_norm), 1e-5);
      EXPECT_LT(Difference(a.k_norm, b.k_norm), 1e-5);
    }
  }
}

TEST_P(KernelsTest, GateAndItsGradient) {
  for (const Shape& shape : kShapes) {
    const at::Tensor gate_up = Random({shape.rows, 2 * shape.n}),
                     dy = Random({shape.rows, shape.n});
    ExpectClose(cuda_.Gate(gate_up), plain_.Gate(gate_up), shape);
    ExpectClose(cuda_.GateBackward(gate_up, dy), plain_.GateBackward(gate_up, dy), shape);
  }
}

TEST_P(KernelsTest, CrossEntropyAndItsGradient) {
  for (int64_t vocabulary : {200, 264, 5000}) {
    const at::Tensor logits = 5 * at::randn({19, vocabulary}).to(at::kCUDA),
                     weights = at::rand({19}).to(at::kCUDA);
    const at::Tensor targets = at::randint(vocabulary, {19}).to(at::kCUDA);
    targets[4] = -1;
    const auto a = cuda_.CrossEntropy(logits, targets, weights, 0.25, 0.01, GetParam()),
               b = plain_.CrossEntropy(logits, targets, weights, 0.25, 0.01, GetParam());
    EXPECT_NEAR(a.first.item<double>(), b.first.item<double>(), 1e-5 * b.first.item<double>());
    ExpectClose(a.second, b.second, {19, vocabulary});
    EXPECT_EQ(a.second[4].abs().max().item<float>(), 0.0f);
  }
}

TEST_P(KernelsTest, AdamW) {
  const AdamWStep step = {0.5f, 0.9f, 0.95f, 0.1f, 0.05f, 1e-8f, 1e-2f, 0.1f, 0.9f};
  std::vector<at::Tensor> a, b;
  for (int i = 0; i < 5; ++i) {
    a.push_back((i == 3 ? at::rand({70001}) : at::randn({70001})).to(at::kCUDA));
    b.push_back(a.back().clone());
  }
  cuda_.AdamW(step, a[0], a[1], a[2], a[3], a[4]);
  plain_.AdamW(step, b[0], b[1], b[2], b[3], b[4]);
  for (int i = 1; i < 5; ++i) EXPECT_LT(Difference(a[i], b[i]), 1e-6) << i;
}

INSTANTIATE_TEST_SUITE_P(Types, KernelsTest, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace tritter
