// What model.attention means for one pass of tokens: who sees whom, and which positions have a
// token to predict. One place for training and evaluation. No LibTorch.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/attention_mask.h"
#include "model/config.h"

namespace tritter {

// For attention `document`: of every token of sequences of `length`, the first position of its
// document, counted from the start of the sequence. A document ends with its eos. [T] -> [T]; empty
// for every other mode.
std::vector<int32_t> DocumentStarts(const ModelConfig& config, absl::Span<const int64_t> tokens,
                                    int64_t length);

// The mask of one sequence; document_start [length] of attention `document`, else null.
AttentionMask MaskOf(const ModelConfig& config, int64_t length, const int32_t* document_start);

// Whether position `position` of a sequence, whose token is `token`, is trained to predict the next
// one. prefix_lm: the tokens of the suffix are predicted, the first of them by the last position of
// the prefix, which sees nothing of the suffix. document: an eos predicts nothing, what follows it
// belongs to another document.
bool PredictsNext(const ModelConfig& config, int64_t position, int64_t token);

// Replaces by -1 the targets [T] of positions that predict nothing; `tokens` [T] are the inputs of
// sequences of `length`. Returns how many of the targets (>= 0) were replaced.
int64_t DropTargets(const ModelConfig& config, absl::Span<const int64_t> tokens, int64_t length,
                    absl::Span<int64_t> targets);

}  // namespace tritter
