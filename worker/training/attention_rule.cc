#include "worker/training/attention_rule.h"

#include <algorithm>

#include "model/tokenizer.h"

namespace tritter {

std::vector<int32_t> DocumentStarts(const ModelConfig& config, absl::Span<const int64_t> tokens,
                                    int64_t length) {
  if (config.attention != AttentionMode::kDocument) return {};
  std::vector<int32_t> starts(tokens.size());
  int32_t start = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    const int32_t position = static_cast<int32_t>(t % length);
    if (position == 0) start = 0;
    starts[t] = start;
    if (tokens[t] == kEosId) start = position + 1;
  }
  return starts;
}

AttentionMask MaskOf(const ModelConfig& config, int64_t length, const int32_t* document_start) {
  AttentionMask mask{.length = length};
  switch (config.attention) {
    case AttentionMode::kCausal:
    case AttentionMode::kEmbedding:
      break;
    case AttentionMode::kSlidingWindow:
    case AttentionMode::kSinks:
      mask.window = config.window;
      mask.sinks = config.sinks;
      break;
    case AttentionMode::kBidirectional:
      mask.prefix = length;
      break;
    case AttentionMode::kPrefixLm:
      mask.prefix = std::min(config.prefix, length);
      break;
    case AttentionMode::kDocument:
      mask.document_start = document_start;
      break;
  }
  return mask;
}

bool PredictsNext(const ModelConfig& config, int64_t position, int64_t token) {
  if (config.attention == AttentionMode::kPrefixLm) return position >= config.prefix - 1;
  if (config.attention == AttentionMode::kDocument) return token != kEosId;
  return true;
}

int64_t DropTargets(const ModelConfig& config, absl::Span<const int64_t> tokens, int64_t length,
                    absl::Span<int64_t> targets) {
  int64_t dropped = 0;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (targets[t] < 0 || PredictsNext(config, static_cast<int64_t>(t) % length, tokens[t]))
      continue;
    targets[t] = -1;
    ++dropped;
  }
  return dropped;
}

}  // namespace tritter
