// What choosing one token costs with a large vocabulary: sampling, log-probabilities, and which
// tokens JSON allows next.
//   choice_bench [tokens of the vocabulary]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "common/figure.h"
#include "common/random.h"
#include "inference/json_constraint.h"
#include "inference/json_grammar.h"
#include "inference/sampler.h"
#include "inference/testing/list_tokenizer.h"

namespace tritter {
namespace {

// Every byte, and words of letters; one in twenty with what has a meaning in JSON, one in fifty cut
// inside a character.
ListTokenizer Words(int64_t count) {
  Philox random(1);
  std::vector<std::string> tokens = {""};
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  constexpr absl::string_view kSigns = "\"\\{}[]:,\n\t ";
  while (static_cast<int64_t>(tokens.size()) < count) {
    std::string word = random.Below(2) == 0 ? " " : "";
    for (uint64_t n = 2 + random.Below(8); n > 0; --n)
      word += static_cast<char>('a' + random.Below(26));
    if (random.Below(20) == 0)
      word[random.Below(word.size())] = kSigns[random.Below(kSigns.size())];
    if (random.Below(50) == 0) word += "\xe2\x82";
    tokens.push_back(std::move(word));
  }
  return ListTokenizer(std::move(tokens), {0});
}

void Measure(const std::string& name, int64_t vocabulary, const std::function<void()>& once) {
  constexpr int kRounds = 20;
  double best = 1e30;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRounds; ++i) once();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count() / kRounds);
  }
  PrintFigure({name + ", " + std::to_string(vocabulary) + " tokens", best * 1e3, "ms", "", ""});
}

void Run(int64_t vocabulary) {
  Philox random(2);
  std::vector<float> logits(static_cast<size_t>(vocabulary));
  for (float& l : logits) l = static_cast<float>(3 * random.Normal());
  int64_t position = 0;
  const auto sample = [&](const std::string& name, const SamplingParams& params) {
    Measure(name, vocabulary, [&] { Sample(logits, params, ++position); });
  };
  sample("greedy", {});
  sample("temperature", {.temperature = 0.8});
  sample("top_k 50, top_p 0.95", {.temperature = 0.8, .top_p = 0.95, .top_k = 50});
  sample("min_p 0.05", {.temperature = 0.8, .min_p = 0.05});
  Measure("log-probabilities, 20 candidates", vocabulary, [&] { ScorePosition(logits, 5, 20); });

  const ListTokenizer tokenizer = Words(vocabulary);
  const auto start = std::chrono::steady_clock::now();
  const JsonVocabulary tokens(tokenizer, vocabulary);
  const std::chrono::duration<double> made = std::chrono::steady_clock::now() - start;
  PrintFigure({"JSON: vocabulary prepared", made.count() * 1e3, "ms", "", ""});
  const JsonAutomaton any(AnyJsonObject());
  for (const char* const text : {"{", "{\"name", "{\"name\": ", "{\"name\": [1, \"some words"}) {
    JsonState state = any.Start(), next;
    for (const char* c = text; *c != 0; ++c) {
      any.Step(state, static_cast<uint8_t>(*c), &next);
      std::swap(state, next);
    }
    Measure(std::string("JSON: behind ") + text, vocabulary, [&] {
      TokenMask mask(vocabulary);
      tokens.AddAllowed(any, state, &mask);
    });
  }
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) { tritter::Run(argc > 1 ? std::atoll(argv[1]) : 128256); }
