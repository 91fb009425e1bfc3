// The batched, paged, threaded forward pass against the plain reference, bit for bit.
#include "inference/forward.h"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/reference_model.h"
#include "inference/testing/tiny_models.h"
#include "kernels/cpu/scratch.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {
namespace {

std::vector<int32_t> Tokens(int64_t count, int32_t start) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>((start + i * 37) % 270));
  return tokens;
}

struct Fixture {
  explicit Fixture(const ModelConfig& config, int threads,
                   const TernaryKernel* kernel = &BestTernaryKernel(),
                   int64_t logit_floats = int64_t{1} << 20, KvFormat format = KvFormat::kF32,
                   const TpackTensorToWrite* head = nullptr)
      : file(MemoryTpack::Random(config, 5)),
        model(Load(config, *kernel, head)),
        pool(threads),
        forward(model.get(), kernel, &pool, format, logit_floats),
        pages(forward.layout().page_bytes, 64) {}

  // Logits of all tokens, computed in chunks of the given sizes (the last one repeats). Pages that
  // a window has left behind are not there.
  std::vector<std::vector<float>> Run(const std::vector<int32_t>& tokens,
                                      const std::vector<int64_t>& chunks) {
    std::vector<uint8_t*> table;
    (void)*pages.Take(KvPagesFor(static_cast<int64_t>(tokens.size())), &table);
    std::vector<std::vector<float>> logits;
    for (size_t at = 0, chunk = 0; at < tokens.size(); ++chunk) {
      const size_t n =
          std::min<size_t>(chunks[std::min(chunk, chunks.size() - 1)], tokens.size() - at);
      std::vector<ForwardRow> rows;
      for (size_t i = 0; i < n; ++i)
        rows.push_back({tokens[at + i], static_cast<int64_t>(at + i), &table, true});
      const KvWindow window(model->config(), static_cast<int64_t>(n));
      for (int64_t i = window.sink_pages(); i < window.FirstPage(static_cast<int64_t>(at)); ++i) {
        std::vector<uint8_t*> page = {std::exchange(table[static_cast<size_t>(i)], nullptr)};
        if (page[0] != nullptr) pages.Return(&page);
      }
      for (auto& row : Step(rows)) logits.push_back(std::move(row));
      at += n;
    }
    std::erase(table, nullptr);
    pages.Return(&table);
    return logits;
  }

  // Logits of the rows that want them.
  std::vector<std::vector<float>> Step(const std::vector<ForwardRow>& rows) {
    std::vector<std::vector<float>> logits;
    EXPECT_OK(forward.Run(rows, [&](int64_t first, int64_t count) {
      EXPECT_EQ(first, static_cast<int64_t>(logits.size()));
      largest_part = std::max(largest_part, count);
      for (int64_t i = first; i < first + count; ++i)
        logits.emplace_back(forward.Logits(i).begin(), forward.Logits(i).end());
    }));
    return logits;
  }

  static std::unique_ptr<PackedModel> Load(const ModelConfig& config, const TernaryKernel& kernel,
                                           const TpackTensorToWrite* head) {
    auto file = MemoryTpack::Random(config, 5);
    if (head != nullptr) file->Add(*head);
    return *PackedModel::Load(std::move(file), kernel);
  }

  int64_t largest_part = 0;  // rows of logits held at a time
  std::unique_ptr<MemoryTpack> file;
  std::unique_ptr<PackedModel> model;
  ThreadPool pool;
  ForwardPass forward;
  KvPagePool pages;
};

TEST(ForwardPass, EqualsTheReferenceBitForBitInEveryFamily) {
  for (const ModelConfig& config : {TinyConfig(), TinyBitnetConfig(), TinyLlamaConfig()}) {
    Fixture f(config, 1);
    const std::vector<int32_t> tokens = Tokens(37, 3);
    EXPECT_EQ(f.Run(tokens, {37}), ReferenceModel(f.file.get()).Logits(tokens));
  }
}

TEST(ForwardPass, SlidingWindowsAndSinksEqualTheReferenceBitForBit) {
  const std::vector<int32_t> tokens = Tokens(75, 3);
  for (const ModelConfig& config :
       {Windowed(TinyConfig(), 1), Windowed(TinyConfig(), 7), Windowed(TinyBitnetConfig(), 16),
        Windowed(TinyConfig(), 33), Windowed(TinyConfig(), 100), Windowed(TinyConfig(), 1, 1),
        Windowed(TinyConfig(), 9, 4), Windowed(TinyLlamaConfig(), 20, 17),
        Windowed(TinyBitnetConfig(), 50, 40)}) {
    Fixture f(config, 1);
    const auto expected = f.Run(tokens, {75});
    EXPECT_EQ(expected, ReferenceModel(f.file.get()).Logits(tokens));
    EXPECT_EQ(f.Run(tokens, {1}), expected);
    EXPECT_EQ(Fixture(config, 3).Run(tokens, {16, 7, 1, 20}), expected);
  }
}

TEST(ForwardPass, ChunksThreadsAndKernelsDoNotChangeABit) {
  const std::vector<int32_t> tokens = Tokens(50, 11);
  const auto expected = Fixture(TinyConfig(), 1).Run(tokens, {50});
  EXPECT_EQ(Fixture(TinyConfig(), 1).Run(tokens, {1}), expected);
  EXPECT_EQ(Fixture(TinyConfig(), 2).Run(tokens, {50}), expected);
  EXPECT_EQ(Fixture(TinyConfig(), 3).Run(tokens, {16, 7, 1, 20}), expected);
  for (const TernaryKernel* kernel : SupportedTernaryKernels()) {
    EXPECT_EQ(Fixture(TinyConfig(), 2, kernel).Run(tokens, {9}), expected) << kernel->name;
  }
}

TEST(ForwardPass, OtherKvFormatsAreNearAndDoNotDependOnChunksOrThreadsEither) {
  const std::vector<int32_t> tokens = Tokens(50, 11);
  for (const auto& [config, format, bound] :
       {std::tuple{TinyConfig(), KvFormat::kBf16, 0.1},
        {TinyConfig(), KvFormat::kInt4, 0.5},
        {Windowed(TinyConfig(), 19, 3), KvFormat::kBf16, 0.1},
        {Windowed(TinyConfig(), 19, 3), KvFormat::kInt4, 0.5}}) {
    const auto run = [&, &config = config, format = format](int threads,
                                                            const std::vector<int64_t>& chunks) {
      return Fixture(config, threads, &BestTernaryKernel(), 1 << 20, format).Run(tokens, chunks);
    };
    const auto exact = Fixture(config, 1).Run(tokens, {50});
    const auto expected = run(1, {50});
    EXPECT_EQ(run(1, {1}), expected);
    EXPECT_EQ(run(2, {50}), expected);
    EXPECT_EQ(run(3, {16, 7, 1, 20}), expected);
    double error = 0, power = 0;
    for (size_t t = 0; t < exact.size(); ++t) {
      for (size_t i = 0; i < exact[t].size(); ++i) {
        error += std::pow(expected[t][i] - exact[t][i], 2);
        power += std::pow(exact[t][i], 2);
      }
    }
    EXPECT_GT(error, 0);
    EXPECT_LT(std::sqrt(error / power), bound);
  }
}

// A quantised head against the same numbers in F32: the activations' two digits are all that
// differs.
TEST(ForwardPass, QuantisedHeadsGiveTheLogitsOfTheirValues) {
  const std::vector<int32_t> tokens = Tokens(37, 3);
  for (const ModelConfig& config : {TinyConfig(), TinyBitnetConfig()}) {
    const std::string name = config.tied_embeddings ? "embed.weight" : "head.weight";
    const auto file = MemoryTpack::Random(config, 5);
    const TpackTensor plain = *file->Get(name);
    const int64_t rows = plain.shape[0], cols = plain.shape[1];
    const float* const values = reinterpret_cast<const float*>(plain.data.data());
    for (const TpackType type : {TpackType::kRowInt8, TpackType::kRowInt4, TpackType::kBF16}) {
      TpackTensorToWrite head{name, plain.shape, type, {}, {}},
          expanded{name, plain.shape, TpackType::kF32, {}, {}};
      std::vector<float> back(cols);
      for (int64_t r = 0; r < rows; ++r) {
        if (const auto format = RowFormatOf(type)) {
          std::vector<uint8_t> codes(QuantisedRowBytes(*format, cols));
          head.scales.push_back(QuantiseRowCodes(*format, values + r * cols, cols, codes.data()));
          ExpandRow(*format, codes.data(), head.scales.back(), cols, back.data());
          head.data.append(codes.begin(), codes.end());
        } else {
          for (int64_t c = 0; c < cols; ++c) {
            const char* const bytes = reinterpret_cast<const char*>(&values[r * cols + c]);
            head.data.append(bytes + 2, 2);  // cut off: a BF16 number
            std::memset(&back[c], 0, 2);
            std::memcpy(reinterpret_cast<char*>(&back[c]) + 2, bytes + 2, 2);
          }
        }
        expanded.data.append(reinterpret_cast<const char*>(back.data()), cols * sizeof(float));
      }
      const auto run = [&](int threads, const TpackTensorToWrite& with) {
        return Fixture(config, threads, &BestTernaryKernel(), 100 * 270, KvFormat::kF32, &with)
            .Run(tokens, {20});
      };
      const auto expected = run(1, expanded), actual = run(1, head);
      EXPECT_EQ(run(3, head), actual);
      if (type == TpackType::kBF16) EXPECT_EQ(actual, expected);
      for (size_t t = 0; t < expected.size(); ++t) {
        const float largest = *std::max_element(expected[t].begin(), expected[t].end());
        for (size_t i = 0; i < expected[t].size(); ++i)
          ASSERT_NEAR(actual[t][i], expected[t][i], 1e-3 * largest) << static_cast<int>(type);
      }
    }
  }
}

TEST(ForwardPass, RowsOfOtherSequencesDoNotChangeABit) {
  Fixture f(TinyConfig(), 2);
  const std::vector<int32_t> a = Tokens(20, 1), b = Tokens(33, 100);
  const auto expected_a = f.Run(a, {20}), expected_b = f.Run(b, {33});
  std::vector<uint8_t*> table_a, table_b;
  (void)*f.pages.Take(2, &table_a);
  (void)*f.pages.Take(3, &table_b);
  size_t at_a = 0, at_b = 0;
  while (at_a < a.size() ||
         at_b < b.size()) {  // one row of a beside three of b, b in front every other time
    std::vector<ForwardRow> rows;
    const size_t first_a = at_a, first_b = at_b;
    if (at_a < a.size())
      rows.push_back({a[at_a], static_cast<int64_t>(at_a), &table_a, true}), ++at_a;
    const size_t of_a = rows.size();
    for (int i = 0; i < 3 && at_b < b.size(); ++i, ++at_b)
      rows.push_back({b[at_b], static_cast<int64_t>(at_b), &table_b, true});
    const bool turned = at_b % 2 == 0;
    if (turned) std::rotate(rows.begin(), rows.begin() + static_cast<int64_t>(of_a), rows.end());
    const auto logits = f.Step(rows);
    const size_t of_b = rows.size() - of_a;
    const auto row = [&](size_t i) { return logits.at(i); };
    for (size_t i = 0; i < of_a; ++i)
      EXPECT_EQ(row(i + (turned ? of_b : 0)), expected_a[first_a + i]);
    for (size_t i = 0; i < of_b; ++i)
      EXPECT_EQ(row(i + (turned ? 0 : of_a)), expected_b[first_b + i]);
  }
}

TEST(ForwardPass, GivesLogitsOnlyForRowsThatWantThem) {
  Fixture f(TinyConfig(), 1);
  const std::vector<int32_t> tokens = Tokens(5, 8);
  const auto expected = f.Run(tokens, {5});
  std::vector<uint8_t*> table;
  (void)*f.pages.Take(1, &table);
  std::vector<ForwardRow> rows;
  for (int64_t i = 0; i < 5; ++i) rows.push_back({tokens[i], i, &table, i == 2 || i == 4});
  EXPECT_EQ(f.Step(rows), (std::vector<std::vector<float>>{expected[2], expected[4]}));
}

int64_t AllocatedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

// What admission by memory counts with is what is allocated: not less, and little more.
TEST(ForwardPass, TakesTheMemoryThatIsEstimated) {
  const int64_t small = AllocatedBytes();
  const std::string probe(1 << 16, 'x');
  if (AllocatedBytes() - small < 1 << 16) GTEST_SKIP() << "this allocator does not count";
  ModelConfig config = TinyConfig();
  config.hidden = 128, config.heads = 4, config.head_dim = 32, config.ffn = 384;
  config.vocab = 8192, config.context = 512;
  const TpackTensorToWrite int8{"head.weight",
                                {8192, 128},
                                TpackType::kRowInt8,
                                std::string(8192 * 128, 'x'),
                                std::vector<float>(8192, 0.5f)};
  const TpackTensorToWrite bf16{
      "head.weight", {8192, 128}, TpackType::kBF16, std::string(2 * 8192 * 128, '\x3f'), {}};
  for (const TpackTensorToWrite* head : {&int8, &bf16}) {
    for (const int threads : {1, 3}) {
      const auto model = Fixture::Load(config, BestTernaryKernel(), head);
      ThreadPool pool(threads);
      pool.Run([](int) {});
      KvPagePool pages(KvPageLayout(config, KvFormat::kBf16).page_bytes, 64);
      std::vector<uint8_t*> table;
      ASSERT_TRUE(*pages.Take(KvPagesFor(300), &table));
      constexpr int64_t kLogits = 40 * 8192;  // of the 100 rows that want logits
      std::vector<ForwardRow> rows;
      for (int64_t i = 0; i < 300; ++i)
        rows.push_back({static_cast<int32_t>(i % 270), i, &table, true});
      const auto chunk = [&](int64_t first, int64_t count) {
        return absl::MakeConstSpan(rows).subspan(first, count);
      };
      const int64_t before = AllocatedBytes();
      ForwardPass forward(model.get(), &BestTernaryKernel(), &pool, KvFormat::kBf16, kLogits);
      for (const auto& [first, count] : {std::pair{0, 1}, {1, 99}, {100, 100}, {200, 100}})
        ASSERT_OK(forward.Run(chunk(first, count), [](int64_t, int64_t) {}));
      const int64_t taken = AllocatedBytes() - before;
      const int64_t estimate = ForwardBytes(config, threads, {100, 100, 100, 300}, kLogits);
      EXPECT_LE(taken, estimate) << threads;
      // Buffers of the kernels are those of their threads: made by another test, or not needed.
      const int64_t least = estimate - threads * kKernelScratchBytes;
      EXPECT_GE(static_cast<double>(taken), 0.95 * static_cast<double>(least)) << threads;
    }
  }
}

TEST(ForwardPass, LogitsComeInPartsOfBoundedSizeWithTheSameBits) {
  const std::vector<int32_t> tokens = Tokens(37, 3);
  const auto expected = Fixture(TinyConfig(), 1).Run(tokens, {37});
  for (const auto& [floats, rows] : {std::pair{1, 1}, std::pair{5 * 270 + 269, 5}}) {
    Fixture f(TinyConfig(), 2, &BestTernaryKernel(), floats);
    EXPECT_EQ(f.Run(tokens, {37}), expected);
    EXPECT_EQ(f.largest_part, rows);
  }
}

}  // namespace
}  // namespace tritter
