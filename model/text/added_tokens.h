// Finds added tokens in a text, as PyPI's tokenizers does: leftmost, then longest.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {

// A part of a text: a token, or text between tokens (`id` < 0).
struct TextSection {
  int32_t id;
  absl::string_view text;
};

// Immutable, thread-safe.
class AddedTokenFinder {
 public:
  void Add(const AddedToken& token);  // its content must not be empty; before the first Split
  bool empty() const { return tokens_.empty(); }
  // `text` is UTF-8 and not empty. With `plain` special tokens are text.
  std::vector<TextSection> Split(absl::string_view text, bool plain) const;

 private:
  // The longest token at the beginning of `text`: index in tokens_, or -1.
  int LongestAt(absl::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> first_{};                     // bytes that a token begins with
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // (node, byte) → node; the root is 0
  std::vector<int> ends_ = {-1};                      // per node: the token that ends there
};

}  // namespace tritter
