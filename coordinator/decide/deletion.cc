#include "coordinator/decide/deletion.h"

#include "absl/strings/str_cat.h"
#include "coordinator/decide/run_life.h"
#include "coordinator/decide/words.h"

namespace tritter {

DeletionVerdict DecideDeletion(const std::string& name, const DeletionFacts& facts) {
  constexpr size_t kNamed = 4;  // it stays one sentence
  if (!IsFinal(facts.state)) {
    return {absl::StrCat("it is ", StateName(facts.state)),
            absl::StrCat("end it first: `tritterctl cancel ", name, "`")};
  }
  if (!facts.dependents.empty()) {
    std::vector<std::string> named = facts.dependents;
    if (named.size() > kNamed) {
      named.resize(kNamed);
      named.push_back(absl::StrCat(facts.dependents.size() - kNamed, " more"));
    }
    return {absl::StrCat(JoinWords(named), named.size() == 1 ? " works on it or waits for it"
                                                             : " work on it or wait for it"),
            "wait for their end, or cancel them first"};
  }
  if (facts.busy) {
    return {"its files are still being tidied after its end",
            absl::StrCat("try again in a moment: `tritterctl delete ", name, "`")};
  }
  return {};
}

}  // namespace tritter
