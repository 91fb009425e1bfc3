// From logits to the next token. A pure function of (logits, parameters, position): the same seed
// gives the same text, whatever else is being served.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace tritter {

struct SamplingParams {
  double temperature = 0;  // 0: greedy
  double top_p =
      1;  // (0, 1]: the smallest set of most likely tokens with at least this probability
  int64_t top_k = 0;  // 0: no limit
  uint64_t seed = 0;
};
// InvalidArgument naming the parameter, its value and what is allowed.
absl::Status ValidateSampling(const SamplingParams& params);

// The token with the largest logit; of equal ones the smallest id.
int32_t Greedy(absl::Span<const float> logits);

// Internal naming the first logit that is infinite or not a number; `position` is of the token that
// they are for.
absl::Status CheckFinite(absl::Span<const float> logits, int64_t position);

// Of finite logits. `position`: of the token being chosen, in its sequence. top_k is applied first,
// then top_p on what is left, both after the temperature; ties in the order go to the smaller id.
// The random number is Philox(seed, position).
int32_t Sample(absl::Span<const float> logits, const SamplingParams& params, int64_t position);

// Log-probabilities of one position.
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
