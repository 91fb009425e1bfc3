// Streamed from a real file against everything in memory, bit for bit.
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/status_macros.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/engine.h"
#include "inference/forward.h"
#include "inference/streaming/load_model.h"
#include "inference/testing/engine_requests.h"
#include "inference/testing/tiny_models.h"
#include "kernels/packing.h"
#include "model/tpack.h"
#include "tests/testing/memory_tpack.h"
#include "tests/testing/random_model.h"

namespace tritter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
constexpr int64_t kUnit = 4096;

std::string Write(const std::string& name, const ModelConfig& config,
                  const std::string& head = "f32") {
  const std::string path = JoinPath(::testing::TempDir(), name + ".tpack");
  ExportOptions options;
  options.head = head;
  EXPECT_OK(WriteRandomModel(Env::Real(), path, config, 5, options));
  return path;
}

std::unique_ptr<TpackFile> Open(const std::string& path) {
  return *TpackFile::Open(Env::Real(), path);
}

// The budgets that keep 0, 1, 2 … layers in memory with groups of so many.
std::vector<int64_t> Budgets(const std::string& path, int64_t layers) {
  std::vector<int64_t> budgets;
  const auto file = Open(path);
  int64_t resident = -1;
  for (int64_t bytes = kUnit;; bytes += kUnit) {
    const auto plan = PlanStreaming(file->header(), {bytes, layers}, path);
    if (!plan.ok()) continue;
    if (plan->groups.empty()) return budgets;
    if (plan->resident_layers > resident) budgets.push_back(bytes);
    resident = plan->resident_layers;
  }
}

// Logits of every position of two sequences at once, in chunks that differ.
std::vector<std::vector<float>> Logits(const PackedModel& model, int threads, int64_t chunk) {
  ThreadPool pool(threads);
  ForwardPass forward(&model, &BestTernaryKernel(), &pool, KvFormat::kF32);
  KvPagePool pages(forward.layout().page_bytes, 8);
  std::vector<uint8_t*> tables[2];
  for (auto& table : tables) EXPECT_OK(pages.Take(2, &table));
  std::vector<std::vector<float>> logits;
  for (int64_t at = 0; at < 20; at += chunk) {
    std::vector<ForwardRow> rows;
    for (int64_t t = at; t < std::min<int64_t>(20, at + chunk); ++t) {
      for (int32_t s = 0; s < 2; ++s)
        rows.push_back({static_cast<int32_t>((t * 37 + s * 101) % 270), t, &tables[s], true});
    }
    // Rows of a sequence follow each other.
    std::stable_sort(rows.begin(), rows.end(),
                     [](const ForwardRow& a, const ForwardRow& b) { return a.pages < b.pages; });
    std::vector<std::vector<float>> part(rows.size());
    EXPECT_OK(forward.Run(rows, [&](int64_t first, int64_t count) {
      for (int64_t i = first; i < first + count; ++i)
        part[i].assign(forward.Logits(i).begin(), forward.Logits(i).end());
    }));
    for (auto& row : part) logits.push_back(std::move(row));
  }
  return logits;
}

absl::StatusOr<std::unique_ptr<PackedModel>> Load(std::unique_ptr<PackedModelFile> file,
                                                  const StreamOptions& options) {
  ASSIGN_OR_RETURN(const LoadPlan plan, PlanLoad(*file, options));
  return LoadModel(std::move(file), plan, BestTernaryKernel());
}

TEST(StreamedModel, LogitsHaveTheBitsOfTheResidentEngine) {
  ModelConfig untied = TinyBitnetConfig();
  untied.tied_embeddings = false;
  int compared = 0;
  for (const auto& [name, config, head] :
       {std::tuple{"tritter", Deep(TinyConfig()), "f32"},
        std::tuple{"tritter_int4", Deep(TinyConfig()), "int4"},
        std::tuple{"bitnet", Deep(TinyBitnetConfig()), "f32"},
        std::tuple{"bitnet_int8", Deep(TinyBitnetConfig()), "int8"},
        std::tuple{"untied", Deep(untied), "int8"},
        std::tuple{"window", Windowed(Deep(TinyConfig()), 7), "f32"},
        std::tuple{"sinks", Windowed(Deep(TinyBitnetConfig()), 6, 3), "f32"},
        std::tuple{"llama", Deep(TinyLlamaConfig()), "f32"}}) {
    const std::string path = Write(name, config, head);
    ASSERT_OK_AND_ASSIGN(const auto resident, PackedModel::Load(Open(path), BestTernaryKernel()));
    const auto expected = Logits(*resident, 1, 20);
    for (const int64_t layers : {1, 2, 3}) {
      for (const int64_t budget : Budgets(path, layers)) {
        ASSERT_OK_AND_ASSIGN(const auto model, Load(Open(path), {budget, layers}));
        EXPECT_GT(model->layers().stats().bytes_per_pass, 0);
        const int threads = 1 + compared % 3;
        EXPECT_EQ(Logits(*model, threads, 20), expected) << name << " " << budget;
        EXPECT_EQ(Logits(*model, threads, 20), expected) << "a second time";
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 30);
}

TEST(StreamedModel, ChunksDoNotChangeABit) {
  const std::string path = Write("chunks", Deep(TinyConfig()));
  ASSERT_OK_AND_ASSIGN(const auto resident, PackedModel::Load(Open(path), BestTernaryKernel()));
  ASSERT_OK_AND_ASSIGN(const auto streamed, Load(Open(path), {Budgets(path, 2)[0], 2}));
  for (const int64_t chunk : {1, 7}) {
    EXPECT_EQ(Logits(*streamed, 2, chunk), Logits(*resident, 1, chunk));
  }
}

std::unique_ptr<Engine> MakeStreamed(const std::string& path, int64_t budget, int64_t layers,
                                     int threads) {
  EngineOptions options;
  options.threads = threads;
  options.streaming = {budget, layers};
  auto engine = Engine::Create(Open(path), options);
  EXPECT_OK(engine.status());
  return *std::move(engine);
}

// Requests with every option, many at a time, joining and leaving.
TEST(StreamedEngine, BatchedTextsAreThoseOfTheResidentEngine) {
  const std::string path = Write("texts", Deep(TinyConfig()));
  const auto run = [&](int64_t budget, int64_t layers, int threads) {
    const auto engine = MakeStreamed(path, budget, layers, threads);
    std::vector<std::unique_ptr<Generation>> generations;
    for (uint64_t i = 0; i < 40; ++i)
      generations.push_back(*engine->Generate(RandomRequest(i, 40, 12)));
    std::vector<std::pair<std::string, std::vector<int32_t>>> texts;
    for (const auto& generation : generations) {
      const Result result = Collect(*generation);
      EXPECT_OK(result.error);
      texts.emplace_back(result.text, result.tokens);
    }
    return texts;
  };
  const auto expected = run(0, 4, 1);
  EXPECT_EQ(run(Budgets(path, 1)[0], 1, 2), expected);
  EXPECT_EQ(run(Budgets(path, 2)[1], 2, 1), expected);
  EXPECT_EQ(run(Budgets(path, 3)[0], 3, 3), expected);
}

class DamagedWhileServing : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = Write(::testing::UnitTest::GetInstance()->current_test_info()->name(),
                  Deep(TinyConfig(), 12));
    content_ = *Env::Real()->ReadFile(path_);
    engine_ = MakeStreamed(path_, Budgets(path_, 2)[0], 2, 2);
    expected_ = Generate(*engine_, Params({1, 2, 3}, 8)).tokens;
    EXPECT_EQ(expected_.size(), 8u);
  }
  // In place: the file that is open.
  void Overwrite(const std::string& content) {
    ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(content.size())), 0);
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    file.close();
    ASSERT_TRUE(file.good());
  }
  std::string path_, content_;
  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> expected_;
};

TEST_F(DamagedWhileServing, ACutFileEndsRequestsWithTheReasonAndAWholeOneServesAgain) {
  Overwrite(content_.substr(0, content_.size() / 2));
  for (int i = 0; i < 2; ++i) {
    const Result result = Generate(*engine_, Params({1, 2, 3}, 8));
    EXPECT_EQ(result.finish, FinishReason::kFailed);
    EXPECT_THAT(result.error,
                StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path_), HasSubstr("offset "),
                                                            HasSubstr("the file ends here"))));
    EXPECT_EQ(engine_->stats().kv_pages_used, 0);
  }
  EXPECT_THAT(engine_->Score({{1, 2, 3}}, [] { return false; }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)));
  Overwrite(content_);
  EXPECT_EQ(Generate(*engine_, Params({1, 2, 3}, 8)).tokens, expected_);
}

TEST_F(DamagedWhileServing, AChangedByteEndsRequestsAndNeverBecomesText) {
  std::string changed = content_;
  changed[changed.size() / 2] ^= 4;
  Overwrite(changed);
  const Result result = Generate(*engine_, Params({1, 2, 3}, 200));
  EXPECT_EQ(result.finish, FinishReason::kFailed);
  EXPECT_THAT(result.error, StatusIs(absl::StatusCode::kDataLoss,
                                     AllOf(HasSubstr(path_), HasSubstr("CRC-32C of layers."))));
  for (size_t i = 0; i < std::min(result.tokens.size(), expected_.size()); ++i)
    EXPECT_EQ(result.tokens[i], expected_[i]) << "what came before is right";
  Overwrite(content_);
  EXPECT_EQ(Generate(*engine_, Params({1, 2, 3}, 8)).tokens, expected_);
}

TEST_F(DamagedWhileServing, AFileThatIsReplacedByRenamingServesOn) {
  ASSERT_OK(WriteFileAtomically(Env::Real(), path_, "another file"));
  EXPECT_EQ(Generate(*engine_, Params({1, 2, 3}, 8)).tokens, expected_);
}

// Kilobytes of the file's mapping that are in memory, of its line in smaps.
int64_t MappedResident(const std::string& path) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool ours = false;
  int64_t kilobytes = 0;
  while (std::getline(smaps, line)) {
    if (absl::StrContains(line, "-") && absl::StrContains(line, " r")) ours = false;
    if (absl::EndsWith(line, path)) ours = true;
    if (ours && absl::StartsWith(line, "Rss:")) kilobytes += std::stoll(line.substr(4));
  }
  return kilobytes;
}

TEST(StreamedModel, TouchesNoWeightThroughTheMapping) {
  ModelConfig config = Deep(TinyConfig(), 12);
  config.hidden = 256;
  config.head_dim = 64;
  config.ffn = 1000;
  const std::string path = Write("mapping", config);
  const int64_t kilobytes = static_cast<int64_t>(*Env::Real()->FileSize(path)) / 1024;
  ASSERT_GT(kilobytes, 2500);
  {
    const auto engine = MakeStreamed(path, Budgets(path, 2)[2], 2, 1);
    EXPECT_EQ(Generate(*engine, Params({1, 2, 3}, 4)).tokens.size(), 4u);
    EXPECT_LT(MappedResident(path), 256) << "the header, and what the system maps around it";
  }
  const auto engine = MakeStreamed(path, 0, 2, 1);
  EXPECT_GT(MappedResident(path), kilobytes * 9 / 10) << "or this test sees nothing";
}

TEST(StreamedModel, TakesNoMoreThanTheBudgetAndAllOfItWhenItFits) {
  const std::string path = Write("budget", Deep(TinyConfig()));
  const auto file = Open(path);
  const int64_t whole = static_cast<int64_t>(file->file_bytes());
  for (const int64_t budget : Budgets(path, 2)) {
    ASSERT_OK_AND_ASSIGN(const LoadPlan plan, PlanLoad(*file, {budget, 2}));
    EXPECT_TRUE(plan.streamed.has_value());
    EXPECT_LE(plan.weight_bytes, budget);
    EXPECT_LT(plan.weight_bytes, whole);
  }
  for (const int64_t budget : {int64_t{0}, whole + kUnit}) {
    ASSERT_OK_AND_ASSIGN(const LoadPlan plan, PlanLoad(*file, {budget, 2}));
    EXPECT_FALSE(plan.streamed.has_value());
    EXPECT_EQ(plan.weight_bytes, whole);
    ASSERT_OK_AND_ASSIGN(const auto model, Load(Open(path), {budget, 2}));
    EXPECT_EQ(model->layers().stats().bytes_per_pass, 0);
    EXPECT_NE(model->layers().Resident(6), nullptr);
  }
  EXPECT_THAT(Load(Open(path), {kUnit, 2}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr(path), HasSubstr("--max-weight-memory allows 4096"))));
}

TEST(StreamedModel, OtherFormsAreRefusedWithWhatToDo) {
  const std::string path = Write("tiled", Deep(TinyConfig())),
                    logical = JoinPath(::testing::TempDir(), "logical.tpack");
  const auto file = Open(path);
  ASSERT_OK_AND_ASSIGN(const auto writer,
                       TpackWriter::Create(Env::Real(), logical, file->config(),
                                           file->tokenizer_hash(), file->provenance()));
  for (const TpackEntry& entry : file->header().entries) {
    TpackTensor tensor = *file->Get(entry.name);
    std::vector<uint8_t> codes;
    if (entry.name == "layers.3.ffn.up.weight") {
      const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
      codes.resize(static_cast<size_t>(rows * LogicalRowBytes(cols)));
      TiledToLogical(tensor.data.data(), rows, cols, codes.data());
      tensor.type = TpackType::kTernaryLogical;
      tensor.data = codes;
    }
    ASSERT_OK(writer->Add(tensor));
  }
  ASSERT_OK(writer->Finish());
  EXPECT_THAT(Load(Open(logical), {Budgets(logical, 1)[0], 1}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("layers.3.ffn.up.weight is stored as ternary logical"),
                             HasSubstr("tritterctl convert"))));
  EXPECT_OK(Load(Open(logical), {}));

  const auto memory = [] { return MemoryTpack::Random(TinyConfig(), 5); };
  EXPECT_THAT(Load(memory(), {50000, 1}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("--max-weight-memory allows 50000"),
                             HasSubstr("only a .tpack is streamed"))));
  EXPECT_OK(Load(memory(), {200000, 1}));
}

}  // namespace
}  // namespace tritter
