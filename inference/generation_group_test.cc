#include "inference/generation_group.h"

#include <thread>
#include <utility>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/kv_pages.h"
#include "inference/testing/held_engine.h"
#include "inference/testing/tiny_models.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Engine> MakeEngine(const EngineOptions& options = {}) {
  return *Engine::Create(MemoryTpack::Random(TinyConfig(), 5), options);
}

GenerateParams Params(int32_t token, int64_t max_tokens) {
  GenerateParams p;
  p.prompt = {kBosId, token};
  p.max_tokens = max_tokens;
  p.ignore_eos = true;
  return p;
}

bool Stays() { return false; }

TEST(GenerationGroup, GivesEveryEventOfEveryGeneration) {
  auto engine = MakeEngine();
  const std::vector<GenerateParams> params = {Params(20, 30), Params(70, 1), Params(90, 12)};
  ASSERT_OK_AND_ASSIGN(GenerationGroup group, GenerationGroup::Start(engine.get(), params));
  std::vector<std::vector<int32_t>> together(3);
  std::vector<int> ended(3);
  GenerationGroup::Event event;
  while (group.Next(Stays, &event)) {
    auto& ids = together[event.index];
    ids.insert(ids.end(), event.what.tokens.begin(), event.what.tokens.end());
    ended[event.index] += event.what.finish == FinishReason::kLength;
  }
  EXPECT_EQ(ended, (std::vector<int>{1, 1, 1}));
  for (size_t i = 0; i < params.size(); ++i) {
    ASSERT_OK_AND_ASSIGN(GenerationGroup alone, GenerationGroup::Start(engine.get(), {params[i]}));
    std::vector<int32_t> ids;
    while (alone.Next(Stays, &event))
      ids.insert(ids.end(), event.what.tokens.begin(), event.what.tokens.end());
    EXPECT_EQ(together[i], ids);
  }
}

TEST(GenerationGroup, ACallerThatHasGoneEndsAllOfThem) {
  auto engine = MakeEngine();
  ASSERT_OK_AND_ASSIGN(GenerationGroup group,
                       GenerationGroup::Start(engine.get(), {Params(20, 250), Params(30, 250)}));
  HeldEngine held(engine.get());  // nothing comes: the wait asks
  int ended = 0;
  GenerationGroup::Event event;
  bool asked = false;
  std::thread opener;
  while (group.Next(
      [&] {
        if (!std::exchange(asked, true)) opener = std::thread([&] { held.Open(); });
        return true;
      },
      &event)) {
    ended += event.what.finish == FinishReason::kCancelled;
  }
  opener.join();
  EXPECT_EQ(ended, 2);
}

TEST(GenerationGroup, AllStartOrNone) {
  EngineOptions options;
  options.max_queue = 2;
  auto engine = MakeEngine(options);
  {
    HeldEngine held(engine.get());
    held.FillQueue(1);
    EXPECT_THAT(GenerationGroup::Start(engine.get(), {Params(20, 5), Params(30, 5)}).status(),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("waiting already")));
  }
  EXPECT_THAT(GenerationGroup::Start(engine.get(), std::vector(3, Params(20, 5))).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("asks for 3 texts at a time, this server lets 2 wait; ask for "
                                 "fewer in one request, or start it with a larger --max-queue")))
      << "trying again would be of no use";
  EXPECT_THAT(GenerationGroup::Start(engine.get(), {Params(20, 5), Params(30, 5000)}).status(),
              StatusIs(absl::StatusCode::kOutOfRange));
  options.max_kv_bytes = KvPageLayout(TinyConfig(), KvFormat::kF32).page_bytes;
  auto small = MakeEngine(options);
  EXPECT_THAT(GenerationGroup::Start(small.get(), {Params(20, 100)}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--max-kv-memory")))
      << "trying again would be of no use";
}

}  // namespace
}  // namespace tritter
