// From logits to the next token. A pure function of (logits, parameters, position, tokens so far,
// what is allowed): the same seed gives the same text, whatever else is being served. The order of
// operations is that of docs/numerics.md.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "inference/token_mask.h"

namespace tritter {

struct LogitBias {
  int32_t id;
  double bias;
};
inline constexpr size_t kMaxLogitBiases = 1024;

struct SamplingParams {
  double temperature = 0;  // 0: greedy
  double top_p =
      1;  // (0, 1]: the smallest set of most likely tokens with at least this probability
  int64_t top_k = 0;  // 0: no limit
  double min_p = 0;   // [0, 1]: tokens at least this share as likely as the most likely one
  uint64_t seed = 0;
  double repetition_penalty = 1;  // above 0: of tokens of prompt and text; 1: none
  double presence_penalty = 0;    // off every token that was generated
  double frequency_penalty = 0;   // off a token for each time that it was generated
  std::vector<LogitBias> logit_bias = {};

  bool uses_counts() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};
// InvalidArgument naming the parameter, its value and what is allowed.
absl::Status ValidateSampling(const SamplingParams& params, int64_t vocabulary);

// The tokens of a sequence so far: how often each was generated, 0 for those of the prompt alone.
using TokenCounts = absl::flat_hash_map<int32_t, int32_t>;

// The token with the largest logit; of equal ones the smallest id.
int32_t Greedy(absl::Span<const float> logits);

// Internal naming the first logit that is infinite or not a number; `position` is of the token that
// they are for.
absl::Status CheckFinite(absl::Span<const float> logits, int64_t position);

// Of finite logits. `position`: of the token being chosen, in its sequence. Ties in the order go to
// the smaller id. The random number is Philox(seed, position). `allowed`, when given, holds at
// least one id; no other is chosen.
int32_t Sample(absl::Span<const float> logits, const SamplingParams& params, int64_t position,
               const TokenCounts& counts = {}, const TokenMask* allowed = nullptr);
// Bytes that a thread which calls Sample and ScorePosition works in, at most.
int64_t SampleBytes(int64_t vocabulary);

// Log-probabilities of one position: of the network, before anything that SamplingParams does.
struct Candidate {
  int32_t id;
  double logit;
  double logprob;
};
struct PositionScore {
  int32_t id;                  // the token asked about
  double logprob;              // nats
  std::vector<Candidate> top;  // most likely first
  double logit_stddev;         // population standard deviation over the vocabulary
};
PositionScore ScorePosition(absl::Span<const float> logits, int32_t id, int64_t top);

}  // namespace tritter
