#include "inference/json_constraint.h"

#include <utility>

namespace tritter {

JsonConstraint::JsonConstraint(std::shared_ptr<const JsonAutomaton> automaton,
                               std::shared_ptr<const JsonVocabulary> vocabulary,
                               std::vector<int32_t> end_ids)
    : automaton_(std::move(automaton)),
      vocabulary_(std::move(vocabulary)),
      end_ids_(std::move(end_ids)),
      state_(automaton_->Start()),
      allowed_(vocabulary_->vocabulary()) {
  Allow();
}

void JsonConstraint::Accept(int32_t id) {
  JsonState next;
  for (const char c : vocabulary_->bytes(id)) {
    automaton_->Step(state_, static_cast<uint8_t>(c), &next);
    std::swap(state_, next);
  }
  Allow();
}

void JsonConstraint::Allow() {
  allowed_.Clear();
  vocabulary_->AddAllowed(*automaton_, state_, &allowed_);
  if (!complete()) return;
  for (const int32_t id : end_ids_) allowed_.Add(id);
}

}  // namespace tritter
