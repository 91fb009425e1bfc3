// Cuts a text into the pieces that byte-pair merges stay within.
#pragma once

#include <functional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/text/token_pattern.h"
#include "model/text/tokenizer_definition.h"

namespace tritter {

// Immutable, thread-safe.
class PreTokenizer {
 public:
  // Errors: those of TokenPattern::Compile, naming the step.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<PreTokenizerStep>& steps);

  // Calls `piece` for each, from left to right; none is empty. `text` is UTF-8. Errors: those of
  // TokenPattern::FindAll; some pieces may have been given before.
  absl::Status Split(absl::string_view text, TokenPattern::Scratch* scratch,
                     absl::FunctionRef<void(absl::string_view)> piece) const;

 private:
  struct Step {
    PreTokenizerStep is;
    std::vector<TokenPattern> pattern;  // one of a split, else none
  };
  absl::Status Run(size_t step, absl::string_view text, TokenPattern::Scratch* scratch,
                   absl::FunctionRef<void(absl::string_view)> piece) const;

  std::vector<Step> steps_;
};

// The pieces, in order, that a step makes of `text` (bytes) and the matches in it.
std::vector<TextSpan> SplitAt(size_t text, const std::vector<TextSpan>& matches,
                              SplitBehavior behavior, bool invert);

}  // namespace tritter
