// The batched, paged, threaded forward pass against the plain reference, bit for bit.
#include "inference/forward.h"

#include <algorithm>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/reference_model.h"
#include "inference/testing/tiny_models.h"
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
                   int64_t logit_floats = int64_t{1} << 20, KvFormat format = KvFormat::kF32)
      : file(MemoryTpack::Random(config, 5)),
        model(*PackedModel::Load(MemoryTpack::Random(config, 5), *kernel)),
        pool(threads),
        forward(model.get(), kernel, &pool, format, logit_floats),
        pages(forward.layout().page_bytes, 64) {}

  // Logits of all tokens, computed in chunks of the given sizes (the last one repeats).
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
      for (auto& row : Step(rows)) logits.push_back(std::move(row));
      at += n;
    }
    pages.Return(&table);
    return logits;
  }

  // Logits of the rows that want them.
  std::vector<std::vector<float>> Step(const std::vector<ForwardRow>& rows) {
    std::vector<std::vector<float>> logits;
    forward.Run(rows, [&](int64_t first, int64_t count) {
      EXPECT_EQ(first, static_cast<int64_t>(logits.size()));
      largest_part = std::max(largest_part, count);
      for (int64_t i = first; i < first + count; ++i)
        logits.emplace_back(forward.Logits(i).begin(), forward.Logits(i).end());
    });
    return logits;
  }

  int64_t largest_part = 0;  // rows of logits held at a time
  std::unique_ptr<MemoryTpack> file;
  std::unique_ptr<PackedModel> model;
  ThreadPool pool;
  ForwardPass forward;
  KvPagePool pages;
};

TEST(ForwardPass, EqualsTheReferenceBitForBitInBothFamilies) {
  for (const ModelConfig& config : {TinyConfig(), TinyBitnetConfig()}) {
    Fixture f(config, 1);
    const std::vector<int32_t> tokens = Tokens(37, 3);
    EXPECT_EQ(f.Run(tokens, {37}), ReferenceModel(f.file.get()).Logits(tokens));
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
