// Requests of the OpenAI-compatible API: JSON to the engine's parameters. Pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "inference/request.h"
#include "model/text/chat_prompts.h"
#include "model/tokenizer.h"

namespace tritter {

inline constexpr int64_t kMaxChoices = 64;  // prompts times n of one request

// A prompt of text or of token ids.
using OpenAiPrompt = std::variant<std::string, std::vector<int32_t>>;

struct OpenAiRequest {
  bool chat = false;
  std::string model;                          // "": the only one
  std::string user;                           // for whom the client asks; "": not told
  std::vector<OpenAiPrompt> prompts;          // /v1/completions
  std::vector<ChatMessage> messages;          // /v1/chat/completions
  nlohmann::ordered_json template_variables;  // of the chat template, an object or null
  GenerateParams params;  // for every choice; prompt, max_tokens and seed come later
  std::optional<int64_t> max_tokens;
  std::optional<uint64_t> seed;  // not set: another one each time
  int64_t n = 1;                 // choices per prompt
  bool stream = false, include_usage = false;
};

// Errors: InvalidArgument naming the parameter (ParameterError). Parameters nobody knows are
// refused, as OpenAI does; those of other servers that mean the same here are taken: top_k, min_p,
// repetition_penalty, stop_token_ids, ignore_eos.
absl::StatusOr<OpenAiRequest> ParseCompletionRequest(absl::string_view body);
absl::StatusOr<OpenAiRequest> ParseChatRequest(absl::string_view body);

struct OpenAiEmbeddingsRequest {
  std::string model;  // "": the only one
  std::string user;   // for whom the client asks; "": not told
  std::vector<OpenAiPrompt> inputs;
  bool base64 = false;  // little-endian FP32, as the official clients ask for it
};
absl::StatusOr<OpenAiEmbeddingsRequest> ParseEmbeddingsRequest(absl::string_view body);

// What the engine is asked, choice by choice: prompt 0 with its n choices, then prompt 1 …
// `prompts`: one per prompt. Choice i is sampled with seed + i.
absl::StatusOr<std::vector<GenerateParams>> MakeGenerations(
    const OpenAiRequest& request, const std::vector<std::vector<int32_t>>& prompts,
    const RequestLimits& limits, uint64_t fresh_seed);
// `name`: the parameter that it came in. Errors: those of Tokenizer::Encode (ParameterError).
absl::StatusOr<std::vector<int32_t>> PromptIds(const OpenAiPrompt& prompt, absl::string_view name,
                                               const Tokenizer& tokenizer);

}  // namespace tritter
