// Answers of the OpenAI-compatible API: the engine's events to JSON. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "inference/model_registry.h"
#include "inference/request.h"
#include "model/tokenizer.h"
#include "nlohmann/json.hpp"

namespace tritter {

// The body of an error, and its HTTP code: 400 what the client must change, 404 unknown model, 429
// queue full, 499 the client has gone, 503 try again later, 504 time is over, 500 the server's.
struct OpenAiError {
  int code = 500;
  std::string body;  // {"error": {"message", "type", "param", "code"}}
};
OpenAiError ToOpenAiError(const absl::Status& status);
// Of the transport: `code` is the HTTP code.
OpenAiError ToOpenAiError(int code, const std::string& message);

// What all parts of one answer have in common.
struct OpenAiAnswer {
  bool chat = false;
  std::string id;  // cmpl-… or chatcmpl-…
  std::string model;
  int64_t created = 0;  // Unix seconds
  bool include_usage = false;
  const Tokenizer* tokenizer = nullptr;
};

// A choice as it grows.
struct OpenAiChoice {
  int64_t index = 0;
  std::string text;
  std::vector<PositionScore> logprobs;
  bool has_logprobs = false;
  FinishReason finish = FinishReason::kNone;
};

struct OpenAiUsage {
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
};

const char* OpenAiFinishReason(FinishReason reason);  // "stop" or "length"

// The whole answer.
std::string WholeAnswer(const OpenAiAnswer& answer, const std::vector<OpenAiChoice>& choices,
                        const OpenAiUsage& usage);

// Server-sent events ("data: …\n\n"). Of a chat every choice begins with FirstChunk; Chunk has what
// came since the one before and the finish reason when the choice has ended.
std::string FirstChunk(const OpenAiAnswer& answer, int64_t index);
std::string Chunk(const OpenAiAnswer& answer, const OpenAiChoice& news);
std::string UsageChunk(const OpenAiAnswer& answer, const OpenAiUsage& usage);
std::string ErrorChunk(const absl::Status& status);
inline constexpr char kLastChunk[] = "data: [DONE]\n\n";

// Vectors as lists of numbers, or as base64 of little-endian FP32.
std::string EmbeddingsAnswer(const std::string& model, const Embeddings& embeddings, bool base64);

// {"object": "list", …} of what is ready, and one of them.
std::string ModelList(const std::vector<ServedModelPtr>& models);
std::string ModelObject(const ServedModel& model);

}  // namespace tritter
