#include <cmath>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/engine.h"
#include "inference/testing/engine_requests.h"
#include "inference/testing/reference_model.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;
using Pooling = EmbedParams::Pooling;

bool Never() { return false; }

std::vector<std::vector<int32_t>> Inputs() {
  std::vector<std::vector<int32_t>> inputs = {{1}, {1, 80, 90, 100, 8, 9}, {}};
  for (int32_t i = 0; i < 50; ++i) inputs[2].push_back(i * 5);
  for (int32_t i = 0; i < 20; ++i) inputs.push_back({1, 40 + i, 60});
  return inputs;
}

TEST(EngineEmbed, PoolsTheHiddenStatesOfTheReference) {
  for (const ModelConfig& config : {TinyConfig(), TinyBitnetConfig()}) {
    auto file = MemoryTpack::Random(config, 5);
    ReferenceModel reference(file.get());
    EngineOptions options;
    options.threads = 2;
    options.scheduler.prefill_chunk = 11;
    auto engine = MakeEngine(options, config);
    for (const Pooling pooling : {Pooling::kMean, Pooling::kLast}) {
      ASSERT_OK_AND_ASSIGN(const Embeddings e,
                           engine->Embed({.inputs = Inputs(), .pooling = pooling}, Never));
      ASSERT_EQ(e.vectors.size(), Inputs().size());
      EXPECT_EQ(e.prompt_tokens, 1 + 6 + 50 + 60);
      for (size_t i = 0; i < e.vectors.size(); ++i) {
        const auto hidden = reference.Hidden(Inputs()[i]);
        ASSERT_EQ(e.vectors[i].size(), static_cast<size_t>(config.hidden));
        for (size_t d = 0; d < e.vectors[i].size(); ++d) {
          double sum = 0;
          for (const auto& row : hidden) sum += row[d];
          EXPECT_EQ(e.vectors[i][d], pooling == Pooling::kLast
                                         ? hidden.back()[d]
                                         : static_cast<float>(sum / hidden.size()));
        }
      }
    }
    EXPECT_EQ(engine->stats().kv_pages_used, 0);
  }
}

TEST(EngineEmbed, NormalisesToLengthOne) {
  auto engine = MakeEngine();
  ASSERT_OK_AND_ASSIGN(const Embeddings plain, engine->Embed({.inputs = {{1, 80, 90}}}, Never));
  ASSERT_OK_AND_ASSIGN(const Embeddings unit,
                       engine->Embed({.inputs = {{1, 80, 90}}, .normalise = true}, Never));
  double squares = 0;
  for (const float x : unit.vectors[0]) squares += double{x} * x;
  EXPECT_NEAR(squares, 1, 1e-6);
  EXPECT_NEAR(plain.vectors[0][3] / unit.vectors[0][3], plain.vectors[0][7] / unit.vectors[0][7],
              1e-5);
}

TEST(EngineEmbed, SharesStepsWithGenerationsAndChangesNothingOfThem) {
  auto engine = MakeEngine();
  const Result alone = Generate(*engine, Params({1, 80, 90}, 60));
  ASSERT_OK_AND_ASSIGN(auto running, engine->Generate(Params({1, 80, 90}, 60)));
  ASSERT_OK_AND_ASSIGN(const Embeddings e, engine->Embed({.inputs = Inputs()}, Never));
  EXPECT_EQ(Collect(*running).tokens, alone.tokens);
  ASSERT_OK_AND_ASSIGN(const Embeddings again, engine->Embed({.inputs = Inputs()}, Never));
  EXPECT_EQ(e.vectors, again.vectors);
}

TEST(EngineEmbed, RefusesCancelsAndTimesOut) {
  auto engine = MakeEngine();
  EXPECT_THAT(engine->Embed({}, Never).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inputs has 0 texts")));
  EXPECT_THAT(engine->Embed({.inputs = {{1}, {}}}, Never).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inputs[1] is empty")));
  EXPECT_THAT(
      engine->Embed({.inputs = {{1}, {1, 270}}}, Never).status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("inputs[1].tokens.ids[1] is 270")));
  EXPECT_THAT(engine->Embed({.inputs = {std::vector<int32_t>(257, 1)}}, Never).status(),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("inputs[0] of 257 tokens")));
  EXPECT_THAT(
      engine->Embed({.inputs = Inputs(), .timeout = absl::ZeroDuration()}, Never).status(),
      StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("the embedding did not end")));
  const std::vector<std::vector<int32_t>> many(400, std::vector<int32_t>(256, 40));
  EXPECT_THAT(engine->Embed({.inputs = many}, [] { return true; }).status(),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("the embedding was cancelled")));
}

TEST(EngineEmbed, HiddenStatesThatAreNoNumbersAreAnError) {
  auto file = MemoryTpack::Random(TinyConfig(), 5);
  std::vector<float> norm(TinyConfig().hidden, std::nanf(""));
  file->Add({"norm.weight",
             {TinyConfig().hidden},
             TpackType::kF32,
             std::string(reinterpret_cast<const char*>(norm.data()), norm.size() * sizeof(float)),
             {}});
  ASSERT_OK_AND_ASSIGN(const auto engine, Engine::Create(std::move(file), {}));
  EXPECT_THAT(engine->Embed({.inputs = {{1, 2}}}, Never).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("hidden states are no finite")));
}

}  // namespace
}  // namespace tritter
