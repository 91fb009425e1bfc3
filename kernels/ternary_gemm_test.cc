#include "kernels/ternary_gemm.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/packing.h"

namespace tritter {
namespace {

constexpr int32_t kUntouched = -559038737;

// One product with its buffers. Allocations are exact, so that the address sanitizer sees any read
// or write beyond.
struct Problem {
  int64_t rows, cols, tokens, x_stride, y_stride, first, end;
  std::vector<uint8_t> tiled;
  std::vector<int8_t> x;

  std::vector<int32_t> Run(const TernaryKernel& kernel) const {
    std::vector<int32_t> y(tokens * y_stride, kUntouched);
    MultiplyRows(kernel, tiled.data(), rows, cols, x.data(), x_stride, tokens,
                 y.data() + 16 * first, y_stride, first, end);
    return y;
  }
};

int64_t Blocks(int64_t rows) { return RoundUp(rows, kTileRows) / kTileRows; }

void FillX(Problem* p, std::mt19937* rng) {
  p->x.assign(p->tokens * p->x_stride, 0);
  const int kind = (*rng)() % 4;
  for (int64_t t = 0; t < p->tokens; ++t) {
    for (int64_t c = 0; c < p->cols; ++c) {
      const int random = static_cast<int>((*rng)() % 256) - 128;
      p->x[t * p->x_stride + c] = static_cast<int8_t>(kind == 0   ? -128
                                                      : kind == 1 ? 127
                                                      : kind == 2 ? (random < 0 ? -128 : 127)
                                                                  : random);
    }
  }
}

// Random codes, all 0 or all +1; padding code 1.
void FillWeights(Problem* p, std::mt19937* rng) {
  std::vector<int8_t> q(p->rows * p->cols);
  const int kind = (*rng)() % 4;
  for (int8_t& v : q) {
    v = static_cast<int8_t>(kind == 0 ? 0 : kind == 1 ? 1 : static_cast<int>((*rng)() % 3) - 1);
  }
  std::vector<uint8_t> logical(p->rows * LogicalRowBytes(p->cols));
  PackLogical(q.data(), p->rows, p->cols, logical.data());
  p->tiled.resize(TiledBytes(p->rows, p->cols));
  LogicalToTiled(logical.data(), p->rows, p->cols, p->tiled.data());
}

Problem RandomProblem(int64_t max_rows, int64_t max_cols, int64_t max_tokens, std::mt19937* rng) {
  Problem p;
  p.rows = 1 + (*rng)() % max_rows;
  p.cols = 1 + (*rng)() % max_cols;
  p.tokens = 1 + (*rng)() % max_tokens;
  p.x_stride = RoundUp(p.cols, kTileCols) + 16 * ((*rng)() % 2) + (*rng)() % 3;
  p.y_stride = RoundUp(p.rows, kTileRows) + (*rng)() % 3;
  p.first = (*rng)() % Blocks(p.rows);
  p.end = p.first + 1 + (*rng)() % (Blocks(p.rows) - p.first);
  if ((*rng)() % 2 == 0) {
    p.first = 0;
    p.end = Blocks(p.rows);
  }
  FillX(&p, rng);
  FillWeights(&p, rng);
  return p;
}

// One test a kernel, so that a machine which lacks it says so and does not pass in silence.
class KernelOfThisMachine : public testing::TestWithParam<const char*> {};

TEST_P(KernelOfThisMachine, IsComparedWithTheReference) {
  for (const TernaryKernel* kernel : SupportedTernaryKernels()) {
    if (std::string(kernel->name) == GetParam()) return;
  }
  GTEST_SKIP() << "this processor (" << CpuFeatures() << ") cannot run the " << GetParam()
               << " kernel: the tests of this file say nothing about it";
}

INSTANTIATE_TEST_SUITE_P(All, KernelOfThisMachine, testing::Values("avx2", "avx512_vnni"),
                         [](const auto& info) { return std::string(info.param); });

void ExpectAllKernelsAgree(const Problem& p) {
  const std::vector<int32_t> want = p.Run(ScalarTernaryKernel());
  for (const TernaryKernel* kernel : SupportedTernaryKernels()) {
    const std::vector<int32_t> got = p.Run(*kernel);
    ASSERT_EQ(std::memcmp(got.data(), want.data(), want.size() * 4), 0)
        << kernel->name << " " << p.rows << " x " << p.cols << ", tokens " << p.tokens
        << ", blocks " << p.first << ".." << p.end;
  }
}

TEST(TernaryGemm, ScalarMatchesTheDefinition) {
  std::mt19937 rng(1);
  for (int i = 0; i < 200; ++i) {
    const int64_t rows = 1 + rng() % 40, cols = 1 + rng() % 60, tokens = 1 + rng() % 4;
    std::vector<int8_t> q(rows * cols);
    for (int8_t& v : q) v = static_cast<int8_t>(static_cast<int>(rng() % 3) - 1);
    std::vector<uint8_t> logical(rows * LogicalRowBytes(cols)), tiled(TiledBytes(rows, cols));
    PackLogical(q.data(), rows, cols, logical.data());
    LogicalToTiled(logical.data(), rows, cols, tiled.data());
    Problem p{rows, cols, tokens, RoundUp(cols, 16), RoundUp(rows, 16), 0, Blocks(rows), tiled, {}};
    FillX(&p, &rng);
    const std::vector<int32_t> y = p.Run(ScalarTernaryKernel());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = 0; r < p.y_stride; ++r) {
        int32_t want = 0;
        for (int64_t c = 0; r < rows && c < cols; ++c)
          want += q[r * cols + c] * p.x[t * p.x_stride + c];
        ASSERT_EQ(y[t * p.y_stride + r], want);
      }
    }
  }
}

TEST(TernaryGemm, BitExactWithTheReferenceOn12000RandomShapes) {
  std::mt19937 rng(2);
  for (int i = 0; i < 12000; ++i) ExpectAllKernelsAgree(RandomProblem(80, 100, 40, &rng));
}

TEST(TernaryGemm, BitExactOnLargerShapes) {
  std::mt19937 rng(3);
  for (int i = 0; i < 12; ++i) ExpectAllKernelsAgree(RandomProblem(200, 3000, 90, &rng));
  for (int i = 0; i < 4; ++i) ExpectAllKernelsAgree(RandomProblem(80, 600, 600, &rng));
  for (int i = 0; i < 12; ++i) ExpectAllKernelsAgree(RandomProblem(150, 9000, 1, &rng));
}

// Every token count around the kernels' register blocks, with every remainder of row blocks.
TEST(TernaryGemm, EveryTokenCountAndBlockRemainder) {
  std::mt19937 rng(4);
  for (int64_t tokens = 1; tokens <= 64; ++tokens) {
    for (int64_t blocks = 1; blocks <= 6; ++blocks) {
      Problem p{blocks * 16 - 3, 75, tokens, 80, blocks * 16, 0, blocks, {}, {}};
      FillX(&p, &rng);
      FillWeights(&p, &rng);
      ExpectAllKernelsAgree(p);
    }
  }
}

// Long rows of extremes: an accumulator of 16 bits, or a scaled one of 32 that is not cut in time,
// would overflow.
TEST(TernaryGemm, LongRowsOfExtremesDoNotOverflow) {
  std::mt19937 rng(5);
  for (const int64_t tokens : {1, 2}) {
    for (const int value : {-128, 127}) {
      Problem p{17, 700001, tokens, 700016, 32, 0, 2, {}, {}};
      FillWeights(&p, &rng);
      std::fill(p.tiled.begin(), p.tiled.begin() + static_cast<int64_t>(p.tiled.size()) / 2,
                0xAA);  // all +1
      p.x.assign(p.tokens * p.x_stride, 0);
      for (int64_t t = 0; t < tokens; ++t) {
        std::fill_n(p.x.begin() + t * p.x_stride, p.cols, static_cast<int8_t>(value));
      }
      ExpectAllKernelsAgree(p);
    }
  }
}

// All 256 packed bytes (code 3 included) in every byte position against all 256 activations.
TEST(TernaryGemm, AllByteValuesTimesAllInt8Values) {
  for (int byte = 0; byte < 256; ++byte) {
    for (const int64_t tokens : {1, 14}) {
      Problem p{
          16, 256, tokens, 256,
          16, 0,   1,      std::vector<uint8_t>(TiledBytes(16, 256), static_cast<uint8_t>(byte)),
          {}};
      p.x.resize(tokens * 256);
      for (int64_t i = 0; i < tokens * 256; ++i)
        p.x[i] = static_cast<int8_t>((i + i / 256 * 37) % 256);
      ExpectAllKernelsAgree(p);
      for (const int extreme : {-128, -127, 127}) {
        std::fill(p.x.begin(), p.x.end(), static_cast<int8_t>(extreme));
        ExpectAllKernelsAgree(p);
      }
      // One position at a time, so that no two errors cancel.
      std::fill(p.x.begin(), p.x.end(), 0);
      for (int64_t c = 0; c < 16; ++c) {
        p.x[(tokens - 1) * 256 + 240 + c] = static_cast<int8_t>(byte - 128);
        ExpectAllKernelsAgree(p);
        p.x[(tokens - 1) * 256 + 240 + c] = 0;
      }
    }
  }
}

TEST(TernaryGemm, BestKernelIsOneOfTheSupported) {
  const std::vector<const TernaryKernel*> kernels = SupportedTernaryKernels();
  EXPECT_STREQ(kernels.front()->name, "scalar");
  EXPECT_NE(std::find(kernels.begin(), kernels.end(), &BestTernaryKernel()), kernels.end());
  if (std::getenv("TRITTER_KERNEL") == nullptr) EXPECT_EQ(&BestTernaryKernel(), kernels.back());
  const std::string features = CpuFeatures();
  const std::string best = kernels.back()->name;
  EXPECT_EQ(best == "avx512_vnni", features.find("avx512_vnni") != std::string::npos) << features;
}

}  // namespace
}  // namespace tritter
