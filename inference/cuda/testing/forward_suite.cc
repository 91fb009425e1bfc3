#include "inference/cuda/testing/forward_suite.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/cuda/device_plan.h"
#include "inference/forward.h"
#include "inference/testing/tiny_models.h"
#include "kernels/row_quantised.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {
namespace {

using Rows = std::vector<std::vector<float>>;

std::vector<int32_t> Tokens(int64_t count, int32_t start) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>((start + i * 37) % 270));
  return tokens;
}

// One key head for many queries, of which a block takes parts; several tiles in every direction.
ModelConfig WideConfig() {
  ModelConfig c = TinyConfig();
  c.hidden = 340;
  c.heads = 10;
  c.kv_heads = 1;
  c.head_dim = 34;
  c.ffn = 700;
  return c;
}
// A key head for each query, family bitnet.
ModelConfig ManyHeadsConfig() {
  ModelConfig c = TinyBitnetConfig();
  c.heads = c.kv_heads = 4;
  c.layers = 3;
  return c;
}

std::unique_ptr<PackedModel> Load(const ModelConfig& config, const TpackTensorToWrite* head) {
  auto file = MemoryTpack::Random(config, 5);
  if (head != nullptr) file->Add(*head);
  return *PackedModel::Load(std::move(file), BestTernaryKernel());
}

// The device and this CPU on one model, each with pages of its own.
class Both {
 public:
  explicit Both(const ModelConfig& config, KvFormat format = KvFormat::kF32,
                const TpackTensorToWrite* head = nullptr, const StreamOptions& streaming = {})
      : model_(Load(config, head)),
        pool_(1),
        cpu_(model_.get(), &BestTernaryKernel(), &pool_, format),
        device_(MakeDevice(*model_, format, streaming)),
        cpu_pages_(cpu_.layout().page_bytes, kPages),
        device_pages_(device_->layout().page_bytes, kPages, device_->kv_memory()) {}

  struct Sequence {
    std::vector<int32_t> tokens;
    size_t computed = 0;
    std::vector<uint8_t*> cpu_table = {}, device_table = {};
  };
  void Open(Sequence* s) {
    const int64_t pages = KvPagesFor(static_cast<int64_t>(s->tokens.size()));
    EXPECT_TRUE(*cpu_pages_.Take(pages, &s->cpu_table));
    EXPECT_TRUE(*device_pages_.Take(pages, &s->device_table));
  }
  void Close(Sequence* s) {
    cpu_pages_.Return(&s->cpu_table);
    device_pages_.Return(&s->device_table);
  }

  enum class Wants { kLogits, kHidden };
  struct Result {
    Rows cpu, device;
  };
  // The next positions[i] positions of sequences[i] in one step; all rows want something.
  Result Step(const std::vector<Sequence*>& sequences, const std::vector<size_t>& positions,
              Wants wants = Wants::kLogits) {
    std::vector<ForwardRow> cpu_rows, device_rows;
    for (size_t i = 0; i < sequences.size(); ++i) {
      Sequence& s = *sequences[i];
      for (size_t k = 0; k < positions[i]; ++k, ++s.computed) {
        ForwardRow row = {s.tokens[s.computed], static_cast<int64_t>(s.computed), &s.cpu_table,
                          wants == Wants::kLogits, wants == Wants::kHidden};
        cpu_rows.push_back(row);
        row.pages = &s.device_table;
        device_rows.push_back(row);
      }
    }
    return {Run(&cpu_, cpu_rows, wants), Run(device_.get(), device_rows, wants)};
  }
  // All of one sequence in steps of these sizes (the last repeats).
  Result All(const std::vector<int32_t>& tokens, const std::vector<size_t>& chunks) {
    Sequence s{tokens};
    Open(&s);
    Result all;
    for (size_t chunk = 0; s.computed < tokens.size(); ++chunk) {
      const size_t n =
          std::min(chunks[std::min(chunk, chunks.size() - 1)], tokens.size() - s.computed);
      const Result step = Step({&s}, {n});
      all.cpu.insert(all.cpu.end(), step.cpu.begin(), step.cpu.end());
      all.device.insert(all.device.end(), step.device.begin(), step.device.end());
    }
    Close(&s);
    return all;
  }
  StreamStats stream_stats() const { return device_->stream_stats(); }

 private:
  static constexpr int64_t kPages = 100;

  static std::unique_ptr<ForwardBackend> MakeDevice(const PackedModel& model, KvFormat format,
                                                    const StreamOptions& streaming) {
    auto device = MakeDeviceUnderTest(model, format, kPages, streaming);
    EXPECT_OK(device.status());
    return *std::move(device);
  }
  static Rows Run(ForwardBackend* backend, const std::vector<ForwardRow>& rows, Wants wants) {
    Rows results;
    EXPECT_OK(backend->Run(rows, [&](int64_t first, int64_t count) {
      EXPECT_EQ(first, static_cast<int64_t>(results.size()));
      for (int64_t i = first; i < first + count; ++i)
        results.emplace_back(backend->Logits(i).begin(), backend->Logits(i).end());
    }));
    if (wants == Wants::kLogits) return results;
    EXPECT_TRUE(results.empty());
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto hidden = backend->Hidden(static_cast<int64_t>(i));
      results.emplace_back(hidden.begin(), hidden.end());
    }
    return results;
  }

  const std::unique_ptr<PackedModel> model_;
  ThreadPool pool_;
  ForwardPass cpu_;
  const std::unique_ptr<ForwardBackend> device_;
  KvPagePool cpu_pages_, device_pages_;
};

TEST(DeviceForward, HasTheLogitsOfTheCpuInEveryFamilyShapeAndKvFormat) {
  const std::pair<ModelConfig, KvFormat> cases[] = {
      {TinyConfig(), KvFormat::kF32},      {TinyConfig(), KvFormat::kBf16},
      {TinyConfig(), KvFormat::kInt4},     {TinyBitnetConfig(), KvFormat::kInt4},
      {TinyLlamaConfig(), KvFormat::kF32}, {ManyHeadsConfig(), KvFormat::kBf16},
      {WideConfig(), KvFormat::kInt4}};
  for (const auto& [config, format] : cases) {
    Both both(config, format);
    const auto result = both.All(Tokens(29, 3), {17, 1, 1, 6, 4});
    ASSERT_EQ(result.device.size(), 29u);
    EXPECT_EQ(result.device, result.cpu)
        << "hidden " << config.hidden << ", format " << static_cast<int>(format);
  }
}

TEST(DeviceForward, HasTheLogitsOfTheCpuWithEveryTypeOfHead) {
  for (const ModelConfig& config : {TinyConfig(), TinyBitnetConfig()}) {
    const std::string name = config.tied_embeddings ? "embed.weight" : "head.weight";
    const auto file = MemoryTpack::Random(config, 5);
    const TpackTensor plain = *file->Get(name);
    const int64_t rows = plain.shape[0], cols = plain.shape[1];
    const float* const values = reinterpret_cast<const float*>(plain.data.data());
    for (const TpackType type : {TpackType::kRowInt8, TpackType::kRowInt4, TpackType::kBF16}) {
      TpackTensorToWrite head{name, plain.shape, type, {}, {}};
      for (int64_t r = 0; r < rows; ++r) {
        if (const auto format = RowFormatOf(type)) {
          std::vector<uint8_t> codes(static_cast<size_t>(QuantisedRowBytes(*format, cols)));
          head.scales.push_back(QuantiseRowCodes(*format, values + r * cols, cols, codes.data()));
          head.data.append(codes.begin(), codes.end());
        } else {
          for (int64_t c = 0; c < cols; ++c)
            head.data.append(reinterpret_cast<const char*>(&values[r * cols + c]) + 2, 2);
        }
      }
      Both both(config, KvFormat::kF32, &head);
      const auto result = both.All(Tokens(24, 3), {20, 1});
      EXPECT_EQ(result.device, result.cpu) << static_cast<int>(type);
    }
  }
}

// In groups of `layers` beside `resident` layers that stay, embedding and head in F32.
StreamOptions Streamed(const ModelConfig& config, int64_t resident, int64_t layers) {
  return {DeviceOuterBytes(config, TpackType::kF32, TpackType::kF32) +
              (resident + 2 * layers) * LayoutOfLayer(config).bytes,
          layers};
}

TEST(DeviceForward, StreamedLayersHaveTheLogitsOfTheCpu) {
  const std::vector<int32_t> tokens = Tokens(23, 3);
  for (ModelConfig config : {TinyConfig(), TinyBitnetConfig(), TinyLlamaConfig()}) {
    config.layers = 7;
    for (const auto& [resident, layers] : {std::pair{0, 1}, {4, 1}, {2, 2}, {0, 3}}) {
      Both both(config, KvFormat::kF32, nullptr, Streamed(config, resident, layers));
      const StreamStats before = both.stream_stats();
      const int64_t streamed = (7 - resident) * LayoutOfLayer(config).bytes;
      EXPECT_EQ(before.bytes_per_pass, streamed);
      EXPECT_GT(before.source_bytes_per_second, 0);
      const auto result = both.All(tokens, {15, 1, 1, 5, 1});
      ASSERT_EQ(result.device.size(), tokens.size());
      EXPECT_EQ(result.device, result.cpu) << resident << " layers stay, groups of " << layers;
      EXPECT_EQ(both.stream_stats().bytes_read - before.bytes_read, 5 * streamed);
    }
  }
}

TEST(DeviceForward, WhatFitsIntoTheBudgetStaysAndWhatCannotIsRefused) {
  ModelConfig config = TinyConfig();
  config.layers = 7;
  EXPECT_EQ(
      Both(config, KvFormat::kF32, nullptr, Streamed(config, 5, 1)).stream_stats().bytes_per_pass,
      0);
  StreamOptions little = Streamed(config, 0, 2);
  const int64_t enough = little.max_weight_bytes--;
  const auto model = Load(config, nullptr);
  EXPECT_THAT(
      MakeDeviceUnderTest(*model, KvFormat::kF32, 10, little).status(),
      StatusIs(absl::StatusCode::kResourceExhausted,
               ::testing::AllOf(::testing::HasSubstr(absl::StrCat("allows ", enough - 1)),
                                ::testing::HasSubstr(absl::StrCat(
                                    "raise it to ", enough, ", or say ", "--stream-layers 1 (")))));
}

// Batches of every size up to and beyond a graph's, sequences at different depths, joining and
// leaving, decoding beside prefill.
void CompareBatches(Both* both) {
  std::vector<Both::Sequence> sequences;
  for (int i = 0; i < 19; ++i) sequences.push_back({Tokens(20 + i % 5, i * 11)});
  for (Both::Sequence& s : sequences) both->Open(&s);
  for (size_t step = 0; step < 14; ++step) {
    std::vector<Both::Sequence*> at_work;
    std::vector<size_t> positions;
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (step < i / 3 || (step + i) % 4 == 0) continue;
      at_work.push_back(&sequences[i]);
      positions.push_back(step % 5 == 3 && i % 2 == 0 ? 3 : 1);
      positions.back() =
          std::min(positions.back(), sequences[i].tokens.size() - sequences[i].computed);
    }
    const auto result = both->Step(at_work, positions);
    EXPECT_EQ(result.device, result.cpu) << "step " << step;
  }
}

TEST(DeviceForward, BatchesOfManySequencesHaveTheLogitsOfTheCpu) {
  Both resident(TinyConfig(), KvFormat::kInt4);
  CompareBatches(&resident);
  ModelConfig config = TinyConfig();
  config.layers = 4;
  Both streamed(config, KvFormat::kInt4, nullptr, Streamed(config, 0, 1));
  CompareBatches(&streamed);
}

TEST(DeviceForward, GivesHiddenStates) {
  for (const ModelConfig& config : {TinyConfig(), TinyBitnetConfig()}) {
    Both both(config);
    Both::Sequence s{Tokens(21, 9)};
    both.Open(&s);
    for (const size_t n : {13, 1, 7}) {
      const auto result = both.Step({&s}, {n}, Both::Wants::kHidden);
      ASSERT_EQ(result.device.size(), n);
      EXPECT_EQ(result.device, result.cpu);
    }
  }
}

// Beyond one split the sums of attention are formed in parts: near, and still of the sequence
// alone. A last bit may flip a code of an activation, and what follows from it.
TEST(DeviceForward, LongSequencesAreNearAndDoNotDependOnChunks) {
  ModelConfig config = TinyConfig();
  config.context = 600;
  const std::vector<int32_t> tokens = Tokens(290, 5);
  Both both(config);
  const auto whole = both.All(tokens, {290}), parts = both.All(tokens, {250, 1, 1, 1, 1, 1, 30, 1});
  EXPECT_EQ(parts.device, whole.device);
  double error = 0, power = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (t < 256) {
      EXPECT_EQ(whole.device[t], whole.cpu[t]) << t;
      continue;
    }
    for (size_t i = 0; i < whole.cpu[t].size(); ++i) {
      error += std::pow(whole.device[t][i] - whole.cpu[t][i], 2);
      power += std::pow(whole.cpu[t][i], 2);
    }
  }
  EXPECT_LT(std::sqrt(error / power), 0.02);
}

}  // namespace
}  // namespace tritter
