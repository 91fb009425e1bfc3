// Many clients with random requests, some of which go away: nothing is left behind, and every text
// is the one that the request gets when it is served alone.
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/random.h"
#include "common/testing/fake_clock.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "inference/engine.h"
#include "inference/testing/engine_requests.h"

namespace tritter {
namespace {

// Under a sanitizer, which makes each ten times as slow, a tenth of them.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define TRITTER_SANITIZED
#endif
#endif
#ifdef TRITTER_SANITIZED
constexpr uint64_t kRequests = 1000;
#else
constexpr uint64_t kRequests = 10000;
#endif
constexpr uint64_t kClients = 3, kAtOnce = 12;  // requests of a client at a time

ModelConfig OneLayer() {
  ModelConfig config = TinyConfig();
  config.layers = 1;
  return config;
}

enum class Fate { kServed, kCancelledAtOnce, kCancelledLater, kGoneAtOnce, kGoneLater, kTimedOut };

Fate FateOf(uint64_t number) {
  const uint64_t dice = MixKey(31, number) % 20;
  return dice < 5 ? static_cast<Fate>(dice + 1) : Fate::kServed;
}

GenerateParams RequestOf(uint64_t number) {
  GenerateParams p = RandomRequest(number, 60, 14);
  if (FateOf(number) == Fate::kTimedOut) p.timeout = absl::Microseconds(MixKey(number) % 2000);
  return p;
}

// Works through its share of the requests, kAtOnce at a time.
void BeClient(Engine& engine, uint64_t first, std::vector<Result>* results) {
  const uint64_t requests = results->size();
  for (uint64_t begin = first * kAtOnce; begin < requests; begin += kClients * kAtOnce) {
    const uint64_t end = std::min(begin + kAtOnce, requests);
    std::vector<std::unique_ptr<Generation>> running;
    for (uint64_t i = begin; i < end; ++i) {
      auto g = engine.Generate(RequestOf(i));
      ASSERT_OK(g.status());
      if (FateOf(i) == Fate::kCancelledAtOnce) (*g)->Cancel();
      if (FateOf(i) == Fate::kGoneAtOnce) g->reset();
      running.push_back(*std::move(g));
    }
    for (uint64_t i = begin; i < end; ++i) {
      std::unique_ptr<Generation>& g = running[i - begin];
      if (g == nullptr) continue;
      GenerateEvent event;
      if (FateOf(i) == Fate::kGoneLater) {
        g->Next(absl::Milliseconds(1), &event);
        g.reset();
        continue;
      }
      if (FateOf(i) == Fate::kCancelledLater) g->Cancel();
      (*results)[i] = Collect(*g);
    }
  }
}

void ServeRandomRequests(const ModelConfig& config, uint64_t requests, int64_t pages) {
  EngineOptions options;
  options.max_queue = kClients * kAtOnce;
  options.scheduler.max_batch = 20;
  options.scheduler.prefill_chunk = 48;
  options.max_kv_bytes = pages * KvPageBytes(config);
  auto engine = MakeEngine(options, config);
  std::vector<Result> results(requests);
  std::vector<std::thread> clients;
  for (uint64_t c = 0; c < kClients; ++c)
    clients.emplace_back([&, c] { BeClient(*engine, c, &results); });
  for (std::thread& c : clients) c.join();

  // Behind all others in the queue, and of every page.
  const Result last = Generate(*engine, Params({1}, config.context - 1));
  EXPECT_EQ(last.finish, FinishReason::kLength);
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.active, 0);
  EXPECT_EQ(stats.queued, 0);
  EXPECT_EQ(stats.refused, 0);
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_LE(stats.kv_pages_cached, pages);
  EXPECT_GT(stats.cached_prompt_tokens, static_cast<int64_t>(requests));
  int64_t ended = 0;
  for (const int64_t count : stats.finished) ended += count;
  EXPECT_EQ(ended, static_cast<int64_t>(requests) + 1);
  EXPECT_EQ(stats.finished[static_cast<size_t>(FinishReason::kFailed)], 0);

  EngineOptions plain;
  plain.prefix_reuse = false;
  auto alone = MakeEngine(plain, config);
  int64_t served = 0, cut = 0;
  for (uint64_t i = 0; i < requests; ++i) {
    const Result& r = results[i];
    if (r.finish == FinishReason::kNone) continue;  // its client went
    GenerateParams params = RequestOf(i);
    params.timeout = absl::InfiniteDuration();
    const Result expected = Generate(*alone, std::move(params));
    if (r.finish == FinishReason::kStop || r.finish == FinishReason::kLength) {
      ++served;
      EXPECT_EQ(r.tokens, expected.tokens) << i;
      EXPECT_EQ(r.text, expected.text) << i;
      EXPECT_EQ(r.finish, expected.finish) << i;
      continue;
    }
    ++cut;
    EXPECT_TRUE(r.finish == FinishReason::kCancelled || r.finish == FinishReason::kDeadline) << i;
    ASSERT_LE(r.tokens.size(), expected.tokens.size()) << i;
    EXPECT_TRUE(std::equal(r.tokens.begin(), r.tokens.end(), expected.tokens.begin())) << i;
  }
  EXPECT_GT(served, static_cast<int64_t>(requests) * 3 / 4);
  EXPECT_GT(cut, static_cast<int64_t>(requests) / 100);
}

// Fewer pages than are wanted: requests wait, idle pages are given up.
TEST(EngineRandom, TenThousandRequestsLeaveNothingBehindAndGetTheTextTheyGetAlone) {
  ServeRandomRequests(OneLayer(), kRequests, 70);
}

TEST(EngineRandom, RequestsUnderAWindowLeaveNothingBehindAndGetTheTextTheyGetAlone) {
  ServeRandomRequests(Windowed(OneLayer(), 20, 4), kRequests / 5, 40);
}

// An observer runs between two steps: what it does takes effect in the next.
class AtToken : public EngineObserver {
 public:
  AtToken(int64_t token, std::function<void()> act) : token_(token), act_(std::move(act)) {}
  void OnStep(const StepReport& report) override {
    const int64_t before = std::exchange(generated_, generated_ + report.generated_tokens);
    if (before < token_ && generated_ >= token_) act_();
  }
  void OnFinish(const RequestUsage&, FinishReason) override {}
  void OnRefused() override {}

 private:
  const int64_t token_;
  int64_t generated_ = 0;
  const std::function<void()> act_;
};

TEST(EngineRandom, ACancelledRequestMakesNoFurtherToken) {
  auto engine = MakeEngine();
  std::atomic<Generation*> generation{nullptr};
  engine->SetObserver(std::make_shared<AtToken>(7, [&] {
    while (generation.load() == nullptr) std::this_thread::yield();
    generation.load()->Cancel();
  }));
  auto g = engine->Generate(Params({1, 2, 3}, 200));
  ASSERT_OK(g.status());
  generation = g->get();
  const Result r = Collect(**g);
  EXPECT_EQ(r.finish, FinishReason::kCancelled);
  EXPECT_EQ(r.tokens.size(), 7u);
}

TEST(EngineRandom, ADeadlineEndsARequestBeforeItsNextToken) {
  FakeClock clock;
  EngineOptions options;
  options.clock = &clock;
  auto engine = MakeEngine(options);
  engine->SetObserver(std::make_shared<AtToken>(5, [&] { clock.Advance(absl::Seconds(2)); }));
  GenerateParams p = Params({1, 2, 3}, 200);
  p.timeout = absl::Seconds(1);
  const Result r = Generate(*engine, p);
  EXPECT_EQ(r.finish, FinishReason::kDeadline);
  EXPECT_EQ(r.tokens.size(), 5u);
}

// What every step brought. The engine waits behind its first one until `go_on`.
class Steps : public EngineObserver {
 public:
  void OnStep(const StepReport& report) override {
    reports.push_back(report);
    if (reports.size() > 1) return;
    first.Notify();
    go_on.WaitForNotification();
  }
  void OnFinish(const RequestUsage&, FinishReason) override {}
  void OnRefused() override {}
  std::vector<StepReport> reports;  // of the scheduler thread; complete when requests have ended
  absl::Notification first, go_on;
};

// Given, and what is the default.
class DecodingChunk : public testing::TestWithParam<std::pair<int64_t, int64_t>> {};
INSTANTIATE_TEST_SUITE_P(EngineRandom, DecodingChunk,
                         testing::Values(std::pair{8, 8}, std::pair{0, 16}));

TEST_P(DecodingChunk, LongPromptsStallNeitherThoseThatDecodeNorShortPrompts) {
  const auto [given, chunk] = GetParam();
  EngineOptions options;
  options.scheduler.prefill_chunk = 64;
  options.scheduler.decoding_chunk = given;
  options.scheduler.prefill_quantum = 4;
  auto steps = std::make_shared<Steps>();
  std::vector<Result> results;
  {
    auto engine = MakeEngine(options);
    engine->SetObserver(steps);
    std::vector<std::unique_ptr<Generation>> running;
    running.push_back(*engine->Generate(Params({1, 2, 3}, 200)));
    steps->first.WaitForNotification();  // from here on it decodes
    for (int i = 0; i < 2; ++i)
      running.push_back(*engine->Generate(Params(std::vector<int32_t>(240, 40 + i), 2)));
    running.push_back(*engine->Generate(Params({1, 80, 90}, 2)));
    steps->go_on.Notify();
    for (size_t i = 1; i < running.size(); ++i) results.push_back(Collect(*running[i]));
    running[0]->Cancel();
    Collect(*running[0]);
  }
  int64_t prefill_steps = 0;
  for (const StepReport& r : steps->reports) {
    EXPECT_LE(r.prompt_positions, chunk);
    if (r.prompt_positions == 0 || prefill_steps++ == 0) continue;
    EXPECT_GE(r.decoding, 1) << "the first request goes on in every step";
  }
  EXPECT_GE(prefill_steps, 2 * 240 / chunk);
}

}  // namespace
}  // namespace tritter
