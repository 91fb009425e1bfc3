#include "inference/engine.h"

#include <atomic>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/testing/fake_clock.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/testing/engine_requests.h"
#include "inference/testing/list_tokenizer.h"
#include "inference/testing/reference_model.h"
#include "inference/testing/tiny_models.h"
#include "model/text/bpe_tokenizer.h"
#include "model/text/testing/bpe_test_tokenizer.h"
#include "model/text/tokenizer_definition.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

struct CountingObserver : EngineObserver {
  void OnStep(const StepReport& report) override {
    generated += report.generated_tokens;
    most_active = std::max(most_active.load(), report.active);
  }
  void OnFinish(const RequestUsage&, FinishReason) override { ++finished; }
  void OnRefused() override {}
  std::atomic<int64_t> finished{0}, generated{0}, most_active{0};
};

// Works as this CPU, until the device fails.
class FailingBackend : public ForwardBackend {
 public:
  FailingBackend(const PackedModel& model, KvFormat format, int runs)
      : pool_(1), forward_(&model, &BestTernaryKernel(), &pool_, format), runs_(runs) {}
  std::string name() const override { return "failing"; }
  const KvPageLayout& layout() const override { return forward_.layout(); }
  absl::Status Run(absl::Span<const ForwardRow> rows,
                   absl::FunctionRef<void(int64_t first, int64_t count)> use) override {
    if (runs_-- <= 0) return absl::UnavailableError("the device is gone");
    return forward_.Run(rows, use);
  }
  absl::Span<const float> Logits(int64_t i) const override { return forward_.Logits(i); }
  absl::Span<const float> Hidden(int64_t i) const override { return forward_.Hidden(i); }
  StreamStats stream_stats() const override {
    StreamStats stats;
    stats.bytes_per_pass = 777;
    return stats;
  }

 private:
  ThreadPool pool_;
  ForwardPass forward_;
  int runs_;
};

// Whose memory holds two pages.
class FewPages final : public FailingBackend {
 public:
  FewPages(const PackedModel& model, KvFormat format) : FailingBackend(model, format, 1 << 20) {}
  KvMemory kv_memory() override {
    return {[this](size_t bytes) { return given_++ < 2 ? KvMemory::FromSystem(bytes) : nullptr; }};
  }

 private:
  int given_ = 0;
};

TEST(Engine, GreedyTextEqualsTheReference) {
  for (const ModelConfig& config : {TinyConfig(), TinyBitnetConfig(), Windowed(TinyConfig(), 5),
                                    Windowed(TinyBitnetConfig(), 4, 3)}) {
    auto file = MemoryTpack::Random(config, 5);
    auto engine = MakeEngine({}, config);
    const std::vector<int32_t> prompt = {1, 80, 90, 100, 8, 9};
    const Result r = Generate(*engine, Params(prompt, 12));
    EXPECT_EQ(r.tokens, ReferenceModel(file.get()).Greedy(prompt, 12));
    EXPECT_EQ(r.finish, FinishReason::kLength);
    EXPECT_EQ(r.usage.prompt_tokens, 6);
    EXPECT_EQ(r.usage.generated_tokens, 12);
  }
}

// Causal, with a window, with sinks.
class EngineAttention : public ::testing::TestWithParam<ModelConfig> {};
INSTANTIATE_TEST_SUITE_P(Engine, EngineAttention,
                         ::testing::Values(TinyConfig(), Windowed(TinyConfig(), 19),
                                           Windowed(TinyConfig(), 21, 5)),
                         [](const auto& config) {
                           return absl::StrCat(AttentionModeName(config.param.attention));
                         });

TEST_P(EngineAttention, TextDoesNotDependOnBatchChunkOrThreads) {
  constexpr uint64_t kRequests = 40;
  std::vector<Result> alone;
  EngineOptions plain;
  plain.prefix_reuse = false;
  auto single = MakeEngine(plain, GetParam());
  for (uint64_t i = 0; i < kRequests; ++i) alone.push_back(Generate(*single, RandomRequest(i)));
  struct Case {
    int threads;
    int64_t chunk, quantum, batch;
  };
  for (const Case& c : {Case{1, 1, 3, 7}, Case{1, 7, 3, 40}, Case{2, 7, 2, 5}, Case{2, 128, 5, 30},
                        Case{3, 20, 20, 3}}) {
    EngineOptions options;
    options.threads = c.threads;
    options.scheduler.prefill_chunk = c.chunk;
    options.scheduler.prefill_quantum = c.quantum;
    options.scheduler.max_batch = c.batch;
    auto engine = MakeEngine(options, GetParam());
    std::vector<std::unique_ptr<Generation>> running;
    for (uint64_t i = 0; i < kRequests; ++i) {
      ASSERT_OK_AND_ASSIGN(auto g, engine->Generate(RandomRequest(i)));
      running.push_back(std::move(g));
    }
    for (uint64_t i = 0; i < kRequests; ++i) {
      const Result r = Collect(*running[i]);
      const std::string name =
          absl::StrCat("request ", i, ", ", c.threads, " threads, chunk ", c.chunk);
      EXPECT_EQ(r.tokens, alone[i].tokens) << name;
      EXPECT_EQ(r.text, alone[i].text) << name;
      EXPECT_EQ(r.finish, alone[i].finish) << name;
      ASSERT_EQ(r.logprobs.size(), alone[i].logprobs.size()) << name;
      for (size_t t = 0; t < r.logprobs.size(); ++t)
        EXPECT_EQ(r.logprobs[t].logprob, alone[i].logprobs[t].logprob) << name;
    }
  }
}

TEST_P(EngineAttention, PrefixReuseChangesNoTextAndNoBitOfItsLogProbabilities) {
  EngineOptions options;
  options.prefix_reuse = false;
  auto plain = MakeEngine(options, GetParam());
  options.prefix_reuse = true;
  options.threads = 2;
  options.scheduler.prefill_chunk = 11;
  options.max_kv_bytes = 30 * KvPageBytes();
  auto reusing = MakeEngine(options, GetParam());
  Philox random(21);
  std::vector<GenerateParams> requests;
  std::vector<std::vector<int32_t>> beginnings = {{}};
  for (uint64_t i = 0; i < 120; ++i) {
    GenerateParams p = RandomRequest(i);
    p.prompt = beginnings[random.Below(beginnings.size())];
    for (uint64_t n = 1 + random.Below(40); n > 0; --n)
      p.prompt.push_back(static_cast<int32_t>(random.Below(270)));
    p.logprobs = 2;
    if (p.prompt.size() < 150) beginnings.push_back(p.prompt);
    requests.push_back(std::move(p));
  }
  int64_t cached = 0;
  for (size_t first = 0; first < requests.size(); first += 6) {
    std::vector<std::unique_ptr<Generation>> running;
    for (size_t i = first; i < first + 6; ++i) {
      ASSERT_OK_AND_ASSIGN(auto g, reusing->Generate(requests[i]));
      running.push_back(std::move(g));
    }
    for (size_t i = first; i < first + 6; ++i) {
      const Result r = Collect(*running[i - first]), alone = Generate(*plain, requests[i]);
      EXPECT_EQ(r.tokens, alone.tokens) << i;
      EXPECT_EQ(r.text, alone.text);
      ASSERT_EQ(r.logprobs.size(), r.tokens.size());
      for (size_t t = 0; t < r.tokens.size(); ++t) {
        EXPECT_EQ(r.logprobs[t].logprob, alone.logprobs[t].logprob);
        EXPECT_EQ(r.logprobs[t].top[1].logit, alone.logprobs[t].top[1].logit);
      }
      EXPECT_EQ(alone.usage.cached_prompt_tokens, 0);
      EXPECT_LT(r.usage.cached_prompt_tokens, r.usage.prompt_tokens);
      cached += r.usage.cached_prompt_tokens;
    }
  }
  EXPECT_GT(cached, 1000);
  const EngineStats stats = reusing->stats();
  EXPECT_EQ(stats.cached_prompt_tokens, cached);
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_GT(stats.kv_pages_cached, 0);
  EXPECT_EQ(plain->stats().kv_pages_cached, 0);
}

// Four pages serve a request that fills the context of sixteen.
TEST(Engine, AWindowBoundsThePagesOfARequest) {
  const ModelConfig config = Windowed(TinyConfig(), 20, 4);
  EngineOptions options;
  options.scheduler.prefill_chunk = 8;
  constexpr int64_t kPages = 4;  // of the sinks one, of window and chunk three
  options.max_kv_bytes = kPages * KvPageBytes();
  auto small = MakeEngine(options, config), large = MakeEngine({}, config);
  EXPECT_EQ(LongestRequest(small->limits()), config.context);
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 150; ++i) prompt.push_back(i * 7 % 270);
  const GenerateParams p = Params(prompt, 106);
  ASSERT_OK_AND_ASSIGN(auto first, small->Generate(p));
  ASSERT_OK_AND_ASSIGN(auto second, small->Generate(p));
  const Result expected = Generate(*large, p);
  EXPECT_EQ(expected.tokens.size(), 106u);
  EXPECT_EQ(Collect(*first).tokens, expected.tokens);
  EXPECT_EQ(Collect(*second).tokens, expected.tokens);
  EXPECT_EQ(small->stats().kv_pages_used, 0);
  EXPECT_LE(small->stats().kv_pages_cached, kPages);

  options.max_kv_bytes = (kPages - 1) * KvPageBytes();
  small = MakeEngine(options, config);
  EXPECT_EQ(LongestRequest(small->limits()), 48);
  EXPECT_THAT(small->Generate(p).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("needs 256 positions = 4 pages at a time")));
  EXPECT_EQ(Generate(*small, Params({1, 2, 3}, 40)).tokens.size(), 40u) << "three pages do";
}

// Memory for pages that the system does not give while a request is at work.
TEST(Engine, AWindowedRequestWithoutMemoryForItsNextPageFails) {
  EngineOptions options;
  options.forward = [](const PackedModel& model, KvFormat format, int64_t, const StreamOptions&) {
    return std::make_unique<FewPages>(model, format);
  };
  auto engine = MakeEngine(options, Windowed(TinyConfig(), 20));
  EXPECT_EQ(Generate(*engine, Params({1, 80, 90}, 25)).tokens.size(), 25u);
  const Result r = Generate(*engine, Params({1, 80, 91}, 60));
  EXPECT_EQ(r.finish, FinishReason::kFailed);
  EXPECT_THAT(r.error, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("--max-kv")));
  EXPECT_EQ(engine->stats().kv_pages_used, 0);
}

TEST(Engine, WhatAnAnswerAddedIsFoundByTheNextTurn) {
  auto engine = MakeEngine();
  GenerateParams p = Params({1, 80, 90}, 40);
  const Result first = Generate(*engine, p);
  p.prompt.insert(p.prompt.end(), first.tokens.begin(), first.tokens.end());
  p.prompt.push_back(99);
  EXPECT_EQ(Generate(*engine, p).usage.cached_prompt_tokens, 32);  // of 42 that were computed
}

TEST(Engine, StopsAtAStopString) {
  auto engine = MakeEngine();
  GenerateParams p = Params({1, 80, 90}, 60);
  p.sampling = {.temperature = 1.5, .seed = 3};
  const Result free = Generate(*engine, p);
  ASSERT_GE(free.text.size(), 12u);
  p.stop = {free.text.substr(5, 4)};
  const Result stopped = Generate(*engine, p);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.text, free.text.substr(0, free.text.find(p.stop[0])));
  EXPECT_LT(stopped.tokens.size(), free.tokens.size());
}

TEST(Engine, StopsAtAStopIdAndAtEosWithoutCountingIt) {
  auto engine = MakeEngine();
  GenerateParams p = Params({1, 80, 90}, 20);
  p.sampling = {.temperature = 1.5, .seed = 3};
  const Result free = Generate(*engine, p);
  p.stop_ids = {free.tokens[7]};
  const auto first =
      std::find(free.tokens.begin(), free.tokens.end(), free.tokens[7]) - free.tokens.begin();
  const Result stopped = Generate(*engine, p);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.usage.generated_tokens, first);
  EXPECT_EQ(stopped.tokens, std::vector<int32_t>(free.tokens.begin(), free.tokens.begin() + first));
}

TEST(Sequence, EndsWithTheIdsThatTheTokenizerNames) {
  const ListTokenizer tokenizer({"a", "b", "c", "", ""}, {3, 4});
  for (const int32_t token : {kEosId, 3, 4}) {
    for (const bool ignore : {false, true}) {
      GenerateParams p = Params({1}, 5);
      p.ignore_eos = ignore;
      Sequence s(p, std::make_shared<RequestChannel>(), &tokenizer, nullptr, absl::ZeroDuration());
      s.Accept(token, {}, absl::ZeroDuration());
      EXPECT_EQ(s.finish_reason(),
                token == kEosId || ignore ? FinishReason::kNone : FinishReason::kStop);
    }
  }
}

TEST(Engine, StreamedTextIsWholeCharactersOnly) {
  auto engine = MakeEngine();
  GenerateParams p = Params({1, 80, 90}, 100);
  p.sampling = {.temperature = 3, .seed = 9};
  auto generation = engine->Generate(p);
  ASSERT_OK(generation.status());
  GenerateEvent event;
  do {
    ASSERT_TRUE((*generation)->Next(absl::InfiniteDuration(), &event));
    // A piece that began inside a character would start with a continuation byte.
    if (!event.text.empty()) EXPECT_NE(static_cast<uint8_t>(event.text[0]) & 0xc0, 0x80);
  } while (event.finish == FinishReason::kNone);
}

TEST(Engine, CancelTakesEffectAndGivesPagesBack) {
  auto engine = MakeEngine();
  ASSERT_OK_AND_ASSIGN(auto g, engine->Generate(Params({1, 2, 3}, 250)));
  g->Cancel();
  const Result r = Collect(*g);
  EXPECT_EQ(r.finish, FinishReason::kCancelled);
  EXPECT_LT(r.usage.generated_tokens, 250);
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.finished[static_cast<size_t>(FinishReason::kCancelled)], 1);
}

TEST(Engine, DeadlineEndsARequest) {
  FakeClock clock;
  EngineOptions options;
  options.clock = &clock;
  auto engine = MakeEngine(options);
  GenerateParams p = Params({1, 2, 3}, 10);
  p.timeout = absl::ZeroDuration();
  EXPECT_EQ(Generate(*engine, p).finish, FinishReason::kDeadline);
  p.timeout = absl::Seconds(1);  // the clock stands still
  EXPECT_EQ(Generate(*engine, p).finish, FinishReason::kLength);
}

TEST(Engine, RefusesAtOnceWhenTheQueueIsFull) {
  EngineOptions options;
  options.max_queue = 0;
  auto engine = MakeEngine(options);
  EXPECT_THAT(engine->Generate(Params({1}, 5)).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("the limit is 0")));
  EXPECT_EQ(engine->stats().refused, 1);
}

TEST(Engine, WaitsForKvMemoryAndRefusesWhatNeverFits) {
  EngineOptions options;
  const int64_t page = KvPageLayout(TinyConfig(), KvFormat::kF32).page_bytes;
  options.max_kv_bytes = 3 * page;
  auto engine = MakeEngine(options);
  EXPECT_THAT(
      engine->Generate(Params({1}, 60)).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("needs 61 positions = 4 pages")));
  std::vector<std::unique_ptr<Generation>> running;  // two pages each: one at a time
  for (int i = 0; i < 6; ++i) {
    ASSERT_OK_AND_ASSIGN(auto g, engine->Generate(Params({1, 80, 90}, 29)));
    running.push_back(std::move(g));
  }
  for (auto& g : running) EXPECT_EQ(Collect(*g).usage.generated_tokens, 29);
  EXPECT_EQ(engine->stats().kv_pages_used, 0);
}

TEST(Engine, RefusesWhatTheModelCannotTake) {
  auto engine = MakeEngine();
  EXPECT_THAT(engine->Generate(Params({}, 5)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("prompt is empty")));
  EXPECT_THAT(engine->Generate(Params({1, 270}, 5)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens.ids[1] is 270")));
  EXPECT_THAT(
      engine->Generate(Params({1}, 256)).status(),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("exceed the model's context of 256")));
  GenerateParams p = Params({1}, 5);
  p.stop = {""};
  EXPECT_THAT(engine->Generate(p).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stop[0]")));
  EXPECT_THAT(engine->Score({.tokens = {1}}, [] { return false; }).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least 2")));
}

TEST(Engine, FillsTheWholeContext) {
  auto engine = MakeEngine();
  EXPECT_EQ(Generate(*engine, Params({1}, 255)).usage.generated_tokens, 255);
}

TEST(Engine, ScoresEveryTokenAsTheReferenceDoes) {
  auto file = MemoryTpack::Random(TinyConfig(), 5);
  EngineOptions options;
  options.threads = 2;
  options.scheduler.prefill_chunk = 10;
  auto engine = MakeEngine(options);
  const std::vector<int32_t> tokens = {1, 80, 90, 100, 8, 9, 77, 30, 31, 32, 40, 50, 61};
  ASSERT_OK_AND_ASSIGN(auto scores,
                       engine->Score({.tokens = tokens, .top = 3}, [] { return false; }));
  const auto logits = ReferenceModel(file.get()).Logits(tokens);
  ASSERT_EQ(scores.size(), tokens.size() - 1);
  for (size_t i = 0; i < scores.size(); ++i) {
    double sum = 0;
    for (float l : logits[i]) sum += std::exp(double{l});
    EXPECT_EQ(scores[i].id, tokens[i + 1]);
    EXPECT_NEAR(scores[i].logprob, logits[i][tokens[i + 1]] - std::log(sum), 1e-9);
    ASSERT_EQ(scores[i].top.size(), 3u);
    EXPECT_EQ(scores[i].top[0].logit, *std::max_element(logits[i].begin(), logits[i].end()));
  }
}

TEST(Engine, LogitsThatAreNoNumbersEndTheRequestWithAnErrorThatNamesThem) {
  auto file = MemoryTpack::Random(TinyConfig(), 5);
  std::vector<float> norm(TinyConfig().hidden, std::nanf(""));
  file->Add({"norm.weight",
             {TinyConfig().hidden},
             TpackType::kF32,
             std::string(reinterpret_cast<const char*>(norm.data()), norm.size() * sizeof(float)),
             {}});
  ASSERT_OK_AND_ASSIGN(const auto engine, Engine::Create(std::move(file), {}));
  ASSERT_OK_AND_ASSIGN(const auto generation, engine->Generate(Params({1, 2, 3}, 5)));
  GenerateEvent event;
  while (event.finish == FinishReason::kNone) generation->Next(absl::InfiniteDuration(), &event);
  EXPECT_EQ(event.finish, FinishReason::kFailed);
  EXPECT_THAT(event.error, StatusIs(absl::StatusCode::kInternal,
                                    HasSubstr("position 3: logit of token 0: expected a finite")));
  EXPECT_THAT(engine->Score({.tokens = {1, 2, 3}}, [] { return false; }).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("position 1: logit of token 0")));
  EXPECT_EQ(engine->stats().kv_pages_used, 0);
}

TEST(Engine, ScoringCanBeCancelled) {
  auto engine = MakeEngine();
  const std::vector<int32_t> tokens(256, 40);
  const auto scores =
      engine->Score({.tokens = tokens, .timeout = absl::ZeroDuration()}, [] { return false; });
  EXPECT_THAT(scores.status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("deadline")));
}

TEST(Engine, ManyRandomRequestsWithCancellationsLeaveNothingBehind) {
  auto reference = MakeEngine();
  EngineOptions options;
  options.threads = 2;
  options.max_queue = 1000;
  options.scheduler.max_batch = 16;
  options.max_kv_bytes = 40 * KvPageLayout(TinyConfig(), KvFormat::kF32).page_bytes;
  auto engine = MakeEngine(options);
  auto observer = std::make_shared<CountingObserver>();
  engine->SetObserver(observer);
  std::vector<std::unique_ptr<Generation>> running;
  for (uint64_t i = 0; i < 60; ++i) {
    ASSERT_OK_AND_ASSIGN(auto g, engine->Generate(RandomRequest(i)));
    if (i % 5 == 0) g->Cancel();
    running.push_back(std::move(g));
  }
  for (uint64_t i = 0; i < running.size(); ++i) {
    const Result r = Collect(*running[i]);
    if (i % 5 != 0 && i % 7 == 1)
      EXPECT_EQ(r.tokens, Generate(*reference, RandomRequest(i)).tokens) << i;
  }
  EXPECT_EQ(engine->stats().kv_pages_used, 0);
  EXPECT_EQ(engine->stats().active, 0);
  EXPECT_EQ(observer->finished.load(), 60);
  EXPECT_EQ(observer->generated.load(), engine->stats().generated_tokens);
  EXPECT_GT(observer->most_active.load(), 1);
}

TEST(Engine, DestructionEndsRunningRequestsAsCancelled) {
  auto engine = MakeEngine();
  ASSERT_OK_AND_ASSIGN(auto g, engine->Generate(Params({1, 2, 3}, 250)));
  engine.reset();
  const Result r = Collect(*g);
  EXPECT_TRUE(r.finish == FinishReason::kCancelled || r.usage.generated_tokens == 250);
}

TEST(Engine, SpeaksThroughTheTokenizerItIsGiven) {
  ASSERT_OK_AND_ASSIGN(const TokenizerDefinition definition,
                       ParseTokenizerJson(BpeTestTokenizer().dump(), "t"));
  EngineOptions options;
  ASSERT_OK_AND_ASSIGN(options.tokenizer, NewBpeTokenizer(definition, {}));
  const std::string hash = options.tokenizer->hash();
  ASSERT_OK_AND_ASSIGN(const auto engine,
                       Engine::Create(MemoryTpack::Random(TinyConfig(), 5, hash), options));
  EXPECT_EQ(&engine->tokenizer(), options.tokenizer.get());
  const Result r = Generate(*engine, Params(*engine->tokenizer().EncodePrompt("hello world"), 30));
  StreamingDecoder decoder(options.tokenizer.get());
  std::string text;
  for (const int32_t id : r.tokens) text += decoder.Push(id);
  EXPECT_EQ(r.text, text + decoder.Finish());
  EXPECT_EQ(r.usage.prompt_tokens, 2);

  EXPECT_THAT(
      Engine::Create(MemoryTpack::Random(TinyConfig(), 5), options),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("the one given is " + hash)));
  ModelConfig small = TinyConfig();
  small.vocab = 267;
  EXPECT_THAT(Engine::Create(MemoryTpack::Random(small, 5, hash), options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("ids up to 267, the model has a vocabulary of 267")));
}

TEST(Engine, RefusesATokenizerItDoesNotHave) {
  auto file = std::make_unique<MemoryTpack>(TinyConfig(), "abc");
  EXPECT_THAT(Engine::Create(std::move(file), {}).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("tokenizer abc")));
}

TEST(Engine, ADeviceThatFailsFailsTheRequestsAtWorkAndLeavesNoPage) {
  EngineOptions options;
  options.streaming = {20000, 1};  // of the device: far too little to load the model in
  options.forward = [](const PackedModel& model, KvFormat format, int64_t kv_pages,
                       const StreamOptions& streaming) {
    EXPECT_GT(kv_pages, 0);
    EXPECT_EQ(streaming.max_weight_bytes, 20000);
    EXPECT_NE(model.layers().Resident(1), nullptr);
    return std::make_unique<FailingBackend>(model, format, 5);
  };
  auto engine = MakeEngine(options);
  EXPECT_EQ(engine->kernel_name(), "failing");
  EXPECT_EQ(engine->stream_stats().bytes_per_pass, 777);
  const Result good = Generate(*engine, Params({1, 80, 90}, 3));
  EXPECT_EQ(good.tokens, Generate(*MakeEngine(), Params({1, 80, 90}, 3)).tokens);
  const Result bad = Generate(*engine, Params({1, 80, 90}, 20));
  EXPECT_EQ(bad.tokens.size(), 2u);
  EXPECT_THAT(bad.error, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is gone")));
  EXPECT_EQ(engine->stats().kv_pages_used, 0);
}

}  // namespace
}  // namespace tritter
