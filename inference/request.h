// What is asked of the engine and what it answers. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "inference/kv_pages.h"
#include "inference/sampler.h"

namespace tritter {

inline constexpr int64_t kMaxCandidates = 20;
inline constexpr int64_t kDefaultMaxTokens = 128;
// How often a wait for news asks whether the one they are for has gone.
inline constexpr absl::Duration kCancelPoll = absl::Milliseconds(5);

enum class OutputFormat {
  kText,
  kJsonObject,  // a JSON object of any content
  kJsonSchema,  // what GenerateParams::json_schema allows
};

struct GenerateParams {
  std::vector<int32_t> prompt;  // token ids, at least one
  int64_t max_tokens = kDefaultMaxTokens;
  SamplingParams sampling;
  std::vector<std::string> stop;  // found across token borders, not part of the text
  std::vector<int32_t> stop_ids;  // beside eos
  bool ignore_eos = false;        // eos is then a token like any other
  // Log-probabilities of every generated token and of that many candidates, 0 to kMaxCandidates.
  std::optional<int64_t> logprobs;
  // JSON: the tokenizer's ids that end a text are then chosen only when it is complete; stop
  // strings, stop ids and max_tokens may still cut it. docs/reference/constrained_output.md.
  OutputFormat format = OutputFormat::kText;
  std::string json_schema;
  absl::Duration timeout = absl::InfiniteDuration();  // from submission; ends with kDeadline
  std::string client = {};                            // who asks: clients take turns in the queue
};

enum class FinishReason {
  kNone,    // not finished
  kStop,    // eos, stop id or stop string
  kLength,  // max_tokens
  kCancelled,
  kDeadline,
  kFailed,  // GenerateEvent::error says why
};

struct RequestUsage {
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;  // of those: taken from an earlier request, not computed
  int64_t generated_tokens = 0;      // the token that ended the text (eos, stop id) is not counted
  absl::Duration queued;             // submission to admission
  absl::Duration prefill;            // admission to the first token
  absl::Duration decode;             // first to last token
};

// Everything that came since the last event.
struct GenerateEvent {
  std::string text;  // whole UTF-8 characters
  std::vector<int32_t>
      tokens;  // every generated token; text may lag behind while it could become a stop string
  std::vector<PositionScore> logprobs;        // one per token, when they were asked for
  FinishReason finish = FinishReason::kNone;  // set in the last event
  RequestUsage usage;                         // complete in the last event
  // With kFailed: Internal (logits that are no numbers), ResourceExhausted, those of
  // LayerSource::Acquire.
  absl::Status error;
};

struct EmbedParams {
  enum class Pooling { kMean, kLast };
  std::vector<std::vector<int32_t>> inputs;  // 1 to kMaxEmbedInputs, each at least one token
  Pooling pooling = Pooling::kMean;          // of the hidden states behind the final norm
  bool normalise = false;                    // to length 1
  absl::Duration timeout = absl::InfiniteDuration();  // of all of them
  std::string client = {};
};
inline constexpr size_t kMaxEmbedInputs = 2048;
struct Embeddings {
  std::vector<std::vector<float>> vectors;  // one per input, [hidden]
  int64_t prompt_tokens = 0;                // of all inputs
};

struct ScoreParams {
  std::vector<int32_t> tokens;  // at least two
  int64_t top = 0;              // candidates per position, 0 to kMaxCandidates
  absl::Duration timeout = absl::InfiniteDuration();
  std::string client = {};
};
inline constexpr size_t kMaxStopStrings = 16, kMaxStopBytes = 256, kMaxStopIds = 64;

// What a model can take.
struct RequestLimits {
  int64_t vocabulary = 0, context = 0;
  int64_t kv_pages = 0;  // in the whole pool
  int64_t kv_page_bytes = 0;
  int64_t max_queue = 0;  // requests that wait
  KvWindow kv_window;     // how many pages one request holds at a time
};
// Positions of the longest request: the context, or fewer when the KV memory could not hold it.
int64_t LongestRequest(const RequestLimits& limits);
// For who does not say how many: the default gives way to a nearly full context.
int64_t DefaultMaxTokens(size_t prompt_tokens, const RequestLimits& limits);
// Errors: InvalidArgument naming the parameter; OutOfRange when the context is too short;
// FailedPrecondition when the KV memory could never hold the request, with the arithmetic.
absl::Status ValidateGenerate(const GenerateParams& params, const RequestLimits& limits);
absl::Status ValidateEmbed(const EmbedParams& params, const RequestLimits& limits);
absl::Status ValidateScore(const ScoreParams& params, const RequestLimits& limits);

}  // namespace tritter
