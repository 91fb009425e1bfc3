// An engine over a random tiny model, and requests to it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "inference/engine.h"
#include "inference/testing/tiny_models.h"

namespace tritter {

std::unique_ptr<Engine> MakeEngine(const EngineOptions& options = {},
                                   const ModelConfig& config = TinyConfig());

int64_t KvPageBytes(const ModelConfig& config = TinyConfig());

struct Result {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<PositionScore> logprobs;
  FinishReason finish = FinishReason::kNone;
  RequestUsage usage;
  absl::Status error;
};
// Everything up to the end of a generation.
Result Collect(Generation& generation);
Result Generate(Engine& engine, GenerateParams params);

// A prompt of ids, eos being a token like any other.
GenerateParams Params(std::vector<int32_t> prompt, int64_t max_tokens);
// With every sampling option and output format now and then; the same for the same number. Prompts
// of up to `max_prompt` tokens, many of which begin alike.
GenerateParams RandomRequest(uint64_t number, uint64_t max_prompt = 70, uint64_t max_tokens = 30);

}  // namespace tritter
