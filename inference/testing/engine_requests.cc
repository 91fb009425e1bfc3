#include "inference/testing/engine_requests.h"

#include "common/random.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "tests/testing/memory_tpack.h"

namespace tritter {

std::unique_ptr<Engine> MakeEngine(const EngineOptions& options, const ModelConfig& config) {
  auto engine = Engine::Create(MemoryTpack::Random(config, 5), options);
  EXPECT_OK(engine.status());
  return *std::move(engine);
}

int64_t KvPageBytes(const ModelConfig& config) {
  return KvPageLayout(config, KvFormat::kF32).page_bytes;
}

Result Collect(Generation& generation) {
  Result r;
  GenerateEvent event;
  while (r.finish == FinishReason::kNone) {
    if (!generation.Next(absl::InfiniteDuration(), &event)) continue;
    r.text += event.text;
    r.tokens.insert(r.tokens.end(), event.tokens.begin(), event.tokens.end());
    r.logprobs.insert(r.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    r.finish = event.finish;
    r.usage = event.usage;
    r.error = event.error;
  }
  return r;
}

Result Generate(Engine& engine, GenerateParams params) {
  auto generation = engine.Generate(std::move(params));
  EXPECT_OK(generation.status());
  return generation.ok() ? Collect(**generation) : Result{};
}

GenerateParams Params(std::vector<int32_t> prompt, int64_t max_tokens) {
  GenerateParams p;
  p.prompt = std::move(prompt);
  p.max_tokens = max_tokens;
  p.ignore_eos = true;
  return p;
}

GenerateParams RandomRequest(uint64_t number, uint64_t max_prompt, uint64_t max_tokens) {
  Philox random(MixKey(77, number));
  const auto one_in = [&](uint64_t n) { return random.Below(n) == 0; };
  GenerateParams p = Params({}, 1 + static_cast<int64_t>(random.Below(max_tokens)));
  const uint64_t length = 1 + random.Below(max_prompt), shared = random.Below(length + 1);
  const uint64_t beginning = random.Below(3);
  for (uint64_t i = 0; i < length; ++i) {
    p.prompt.push_back(
        static_cast<int32_t>(i < shared ? MixKey(beginning, i) % 270 : random.Below(270)));
  }
  p.ignore_eos = !one_in(4);
  if (!one_in(3)) {
    p.sampling.temperature = 0.9;
    p.sampling.seed = number;
    if (one_in(2)) p.sampling.top_p = 0.95;
    if (one_in(2)) p.sampling.top_k = 50;
    if (one_in(3)) p.sampling.min_p = 0.05;
  }
  if (one_in(3)) p.sampling.repetition_penalty = 1.3;
  if (one_in(3)) {
    p.sampling.presence_penalty = 0.5;
    p.sampling.frequency_penalty = 0.25;
  }
  if (one_in(3)) p.sampling.logit_bias = {{static_cast<int32_t>(random.Below(270)), 3}};
  if (one_in(4)) p.logprobs = static_cast<int64_t>(random.Below(5));
  if (one_in(6)) p.stop = {std::string(1, static_cast<char>('a' + random.Below(26)))};
  if (one_in(6)) p.stop_ids = {static_cast<int32_t>(random.Below(270))};
  if (one_in(8)) p.format = OutputFormat::kJsonObject;
  if (one_in(8)) {
    p.format = OutputFormat::kJsonSchema;
    p.json_schema = R"({"type":"array","maxItems":3,"items":{"enum":["a","bc",17,true,null]}})";
  }
  return p;
}

}  // namespace tritter
