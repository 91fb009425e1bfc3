#include "kernels/attention_mask.h"

#include <algorithm>

namespace tritter {

KeyRanges KeysOf(const AttentionMask& mask, int64_t query) {
  KeyRanges keys;
  keys.end = query < mask.prefix ? std::min(mask.prefix, mask.length) : query + 1;
  if (mask.window > 0) keys.begin = std::max<int64_t>(0, query + 1 - mask.window);
  if (mask.document_start != nullptr)
    keys.begin = std::max<int64_t>(keys.begin, mask.document_start[query]);
  // Sinks that reach the window are one interval with it.
  if (mask.sinks < keys.begin) {
    keys.sinks = mask.sinks;
  } else if (mask.sinks > 0) {
    keys.begin = 0;
  }
  return keys;
}

void KeysOfTile(const AttentionMask& mask, int64_t first, int64_t count, KeyRanges* keys) {
  for (int64_t i = 0; i < count; ++i) keys[i] = KeysOf(mask, first + i);
}

int64_t VisiblePairs(const AttentionMask& mask) {
  int64_t pairs = 0;
  for (int64_t query = 0; query < mask.length; ++query) {
    const KeyRanges keys = KeysOf(mask, query);
    pairs += keys.sinks + keys.end - keys.begin;
  }
  return pairs;
}

}  // namespace tritter
