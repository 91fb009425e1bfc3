#include "coordinator/decide/deletion.h"

#include "absl/strings/str_cat.h"
#include "coordinator/decide/run_life.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

// It stays one sentence.
std::string JoinFirst(std::vector<std::string> names) {
  constexpr size_t kNamed = 4;
  const size_t more = names.size() > kNamed ? names.size() - kNamed : 0;
  if (more > 0) {
    names.resize(kNamed);
    names.push_back(absl::StrCat(more, " more"));
  }
  return JoinWords(names);
}

}  // namespace

DeletionVerdict DecideDeletion(const std::string& name, const DeletionFacts& facts) {
  if (!IsFinal(facts.state)) {
    return {absl::StrCat("it is ", StateName(facts.state)),
            absl::StrCat("end it first: `tritterctl cancel ", name, "`")};
  }
  if (!facts.dependents.empty()) {
    return {absl::StrCat(JoinFirst(facts.dependents), facts.dependents.size() == 1
                                                          ? " works on it or waits for it"
                                                          : " work on it or wait for it"),
            "wait for their end, or cancel them first"};
  }
  if (!facts.unreadable.empty()) {
    return {absl::StrCat(JoinFirst(facts.unreadable),
                         " may work on it or wait for it: the stored configuration cannot be read"),
            "wait for its end, or cancel it first"};
  }
  const std::string again = absl::StrCat("try again in a moment: `tritterctl delete ", name, "`");
  if (!facts.leaving.empty()) {
    return {absl::StrCat(facts.leaving.size() == 1 ? "worker " : "workers ",
                         JoinFirst(facts.leaving), facts.leaving.size() == 1 ? " is" : " are",
                         " still leaving it, and may be writing its files"),
            again};
  }
  if (facts.busy) return {"its files are still being tidied after its end", again};
  return {};
}

}  // namespace tritter
