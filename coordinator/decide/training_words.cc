#include "coordinator/decide/training_words.h"

#include "absl/strings/str_cat.h"
#include "coordinator/decide/words.h"

namespace tritter {

std::string TrainingWords(const TrainingView& view) {
  constexpr size_t kNamed = 4;  // it stays one sentence
  std::vector<std::string> members = view.members;
  if (members.size() > kNamed + 1) {
    members.resize(kNamed);
    members.push_back(absl::StrCat(view.members.size() - kNamed, " more"));
  }
  std::string out = absl::StrCat("step ", view.step, " of ", view.total_steps, ", epoch ",
                                 view.epoch, " of ", JoinWords(members));
  if (!view.trouble.empty()) return absl::StrCat(out, "; ", view.trouble);
  if (!view.stopping.empty()) return absl::StrCat(out, "; it stops: ", view.stopping);
  if (view.writing_checkpoint > 0) {
    absl::StrAppend(&out, ", the checkpoint of step ", view.writing_checkpoint,
                    " is being written");
  } else if (view.next_checkpoint > view.step) {
    absl::StrAppend(&out, ", next checkpoint at step ", view.next_checkpoint);
  }
  return out;
}

}  // namespace tritter
