// Activations in the order in which the ternary kernels read them.
#pragma once

#include <cstdint>

namespace tritter {

// Tokens in groups of at most kTokenGroup, as even as possible; of a group the four activations of
// columns 4c to 4c + 3 of all its tokens stand side by side: [column group][token of the group][4].
// So one token alone is a plain row, and group g begins at FirstOfGroup(g) * padded columns.
// Arranged once, read by every block of rows.
constexpr int64_t kTokenGroup = 12;

struct ArrangedActivations {
  const int8_t* x;      // [tokens * padded columns]: columns padded with 0 to a multiple of 16
  const int32_t* sums;  // [tokens] sum of a token's activations
  int64_t tokens;
};

// static: every unit its own, none compiled for a wider instruction set is shared.
static inline int64_t TokenGroups(int64_t tokens) {
  return (tokens + kTokenGroup - 1) / kTokenGroup;
}
// The first token of group g; that of TokenGroups(tokens) is `tokens`.
static inline int64_t FirstOfGroup(int64_t tokens, int64_t g) {
  return g * tokens / TokenGroups(tokens);
}

}  // namespace tritter
