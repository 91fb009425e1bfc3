#include "inference/generation_group.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tritter {

absl::StatusOr<GenerationGroup> GenerationGroup::Start(Engine* engine,
                                                       std::vector<GenerateParams> params) {
  if (static_cast<int64_t>(params.size()) > engine->limits().max_queue) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request asks for ", params.size(), " texts at a time, this server lets ",
                     engine->limits().max_queue,
                     " wait; ask for fewer in one request, or start it with a larger --max-queue"));
  }
  for (const GenerateParams& p : params) {
    RETURN_IF_ERROR(ValidateGenerate(p, engine->limits()));
  }
  GenerationGroup group;
  for (GenerateParams& p : params) {
    ASSIGN_OR_RETURN(std::unique_ptr<Generation> generation, engine->Generate(std::move(p)));
    group.generations_.push_back(std::move(generation));
  }
  group.left_ = group.generations_.size();
  return group;
}

void GenerationGroup::Cancel() {
  for (const auto& generation : generations_)
    if (generation != nullptr) generation->Cancel();
}

bool GenerationGroup::Next(const std::function<bool()>& gone, Event* event) {
  bool cancelled = false;
  while (left_ > 0) {
    // Everybody is looked at once; one of them is waited for when nobody had anything.
    for (size_t turn = 0; turn <= generations_.size(); ++turn) {
      next_ = (next_ + 1) % generations_.size();
      if (generations_[next_] == nullptr) continue;
      const bool wait = left_ == 1 || turn == generations_.size();
      if (!generations_[next_]->Next(
              wait ? kCancelPoll / static_cast<int64_t>(left_) : absl::ZeroDuration(),
              &event->what))
        continue;
      event->index = next_;
      if (event->what.finish != FinishReason::kNone) {
        generations_[next_].reset();
        --left_;
      }
      return true;
    }
    if (!cancelled && gone()) {
      cancelled = true;
      Cancel();
    }
  }
  return false;
}

}  // namespace tritter
