#include "coordinator/decide/dependencies.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/decide/run_life.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

constexpr size_t kNamedRuns = 4;  // a reason stays one sentence

std::string Named(const DependencyView& run) { return NamedRun(run.name, run.run_id); }

std::string Instead(const DependencyView& run) {
  return absl::StrCat("cancel this run and submit it with another `", run.of ? "of" : "after", "`");
}

// Why waiting will not do; empty when it will.
std::string Broken(const DependencyView& run) {
  if (!run.known) {
    return absl::StrCat("waits for run ", run.run_id, ", which this coordinator does not know; ",
                        Instead(run));
  }
  if (run.state == v1::RUN_STATE_FAILED) {
    return absl::StrCat("waits for run ", Named(run), ", which has failed: ", run.reason,
                        "; `tritterctl resume ", run.run_id,
                        "` tries it again, `tritterctl cancel` gives this one up");
  }
  if (run.state == v1::RUN_STATE_CANCELLED) {
    return absl::StrCat(
        "waits for run ", Named(run), ", which was cancelled",
        run.total_steps > 0 ? absl::StrCat(" at step ", run.step, " of ", run.total_steps) : "",
        " and will not be complete; ", Instead(run));
  }
  return "";
}

}  // namespace

Wait DecideDependencies(absl::Span<const DependencyView> dependencies) {
  std::vector<std::string> unfinished;
  for (const DependencyView& run : dependencies) {
    if (std::string why = Broken(run); !why.empty())
      return {WaitCause::kAfterFailed, std::move(why)};
    if (run.state == v1::RUN_STATE_COMPLETED) continue;
    unfinished.push_back(absl::StrCat(Named(run), ", which is ", StateName(run.state)));
    if (run.total_steps > 0)
      absl::StrAppend(&unfinished.back(), " at step ", run.step, " of ", run.total_steps);
  }
  if (unfinished.empty()) return {};
  const size_t count = unfinished.size();
  if (count > kNamedRuns) {
    unfinished.resize(kNamedRuns);
    unfinished.push_back(absl::StrCat(count - kNamedRuns, " more"));
  }
  return {WaitCause::kAfterUnfinished,
          count == 1 ? absl::StrCat("waits for run ", unfinished[0])
                     : absl::StrCat("waits for ", count, " runs: ", JoinWords(unfinished))};
}

}  // namespace tritter
