// Keeps one generated text to a JSON grammar, token by token.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "inference/json_automaton.h"
#include "inference/json_vocabulary.h"
#include "inference/token_mask.h"

namespace tritter {

// Belongs to one request; not thread-safe.
class JsonConstraint {
 public:
  // `end_ids` end the text: they are allowed when it is complete, and before that only for the sake
  // of their bytes, which those of a tokenizer do not have.
  JsonConstraint(std::shared_ptr<const JsonAutomaton> automaton,
                 std::shared_ptr<const JsonVocabulary> vocabulary, std::vector<int32_t> end_ids);

  // What may come next. Empty: the text is complete and nothing ends it, or (with a vocabulary that
  // lacks single bytes) no token continues it.
  const TokenMask& allowed() const { return allowed_; }
  bool complete() const { return automaton_->Complete(state_); }
  // One of `allowed`, and none that ends the text.
  void Accept(int32_t id);

 private:
  void Allow();

  const std::shared_ptr<const JsonAutomaton> automaton_;
  const std::shared_ptr<const JsonVocabulary> vocabulary_;
  const std::vector<int32_t> end_ids_;
  JsonState state_;
  TokenMask allowed_;
};

}  // namespace tritter
