// Follows a text byte by byte and says whether it can still become JSON that a grammar allows. A
// pushdown automaton; where an any-of leaves several readings open, all of them are followed.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "inference/json_grammar.h"

namespace tritter {

// One open value, or part of one.
struct JsonFrame {
  uint8_t at;    // what is expected next
  uint8_t part;  // inside a character or number
  int32_t node;
  int32_t a = 0, b = 0, c = 0;  // counts and places, by `at`
  auto operator<=>(const JsonFrame&) const = default;
};
// The innermost open value last; empty: the text is complete.
using JsonStack = absl::InlinedVector<JsonFrame, 8>;

struct JsonState {
  std::vector<JsonStack> stacks;  // distinct readings of what was written
  // Between the parts of a value: 0 none, -1 one space, n a newline and n - 1 blanks.
  int32_t whitespace = 0;
};

// Immutable, thread-safe.
class JsonAutomaton {
 public:
  // Between two parts of a value stand one space, or a newline and so many blanks, or nothing: room
  // for indented JSON, and none for a model that is fond of blanks.
  static constexpr int32_t kMaxIndent = 32;
  // More readings than these are not followed; those that are can all be written to their end.
  static constexpr size_t kMaxReadings = 256;
  // Values of any content nest no deeper.
  static constexpr size_t kMaxAnyDepth = 64;

  explicit JsonAutomaton(JsonGrammar grammar) : grammar_(std::move(grammar)) {}

  JsonState Start() const;
  // Whether `byte` may follow; `to` is then the state after it. `to` is not `from`.
  bool Step(const JsonState& from, uint8_t byte, JsonState* to) const;
  // The text may end here.
  bool Complete(const JsonState& state) const;
  // Inside the content of a string, between two characters: how many characters may follow that
  // are written as they are. Negative elsewhere.
  int64_t PlainCharacters(const JsonStack& stack) const;

 private:
  class Stepper;
  const JsonNode& node(const JsonFrame& f) const {
    return grammar_.nodes[static_cast<size_t>(f.node)];
  }
  bool MayEnd(const JsonFrame& top) const;

  const JsonGrammar grammar_;
};

}  // namespace tritter
