// The bytes of every token of a vocabulary, ordered so that it takes little to say which tokens may
// follow a text.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "inference/json_automaton.h"
#include "inference/token_mask.h"
#include "model/tokenizer.h"

namespace tritter {

// Immutable, thread-safe. Tokens without bytes (special ones) never follow.
class JsonVocabulary {
 public:
  // Ids of the model's vocabulary; those beyond the tokenizer's have no bytes.
  JsonVocabulary(const Tokenizer& tokenizer, int64_t vocabulary);

  int64_t vocabulary() const { return static_cast<int64_t>(bytes_.size()); }
  const std::string& bytes(int32_t id) const { return bytes_[static_cast<size_t>(id)]; }
  // Adds every token all of whose bytes may follow.
  void AddAllowed(const JsonAutomaton& automaton, const JsonState& state, TokenMask* mask) const;

 private:
  // A tree of byte strings, each node before its children.
  struct Node {
    uint8_t byte;
    int32_t depth;  // of its parent
    int32_t end;    // behind its last descendant
    std::vector<int32_t> ids;
  };
  using Tree = std::vector<Node>;
  Tree MakeTree(std::vector<int32_t> ids) const;
  static void Walk(const Tree& tree, const JsonAutomaton& automaton, const JsonState& state,
                   TokenMask* mask);

  std::vector<std::string> bytes_;
  // Plain tokens are whole characters that a string's content may have as they are: most of a
  // vocabulary. Inside a string they need no walk.
  Tree plain_, rest_;
  TokenMask plain_mask_;
  std::vector<std::pair<int64_t, int32_t>> plain_by_length_;  // characters, id
};

}  // namespace tritter
