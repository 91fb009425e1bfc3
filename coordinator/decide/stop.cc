#include "coordinator/decide/stop.h"

#include "absl/strings/str_cat.h"
#include "coordinator/decide/words.h"

namespace tritter {

StopDecision DecideStop(const StopInputs& in) {
  if (in.intent == Intent::kPause) return {"pause asked for", true};
  if (in.intent == Intent::kCancel) return {"cancel asked for", true};
  const int64_t leaving = static_cast<int64_t>(in.draining.size());
  const bool nobody_stays = leaving >= in.members || in.reshape.gives_all;
  if (leaving > 0) {
    return {absl::StrCat(NamedWorkers(in.draining),
                         leaving == 1 ? " leaves, as it was told to (SIGTERM or Ctrl-C)"
                                      : " leave, as they were told to (SIGTERM or Ctrl-C)"),
            nobody_stays};
  }
  if (!in.reshape.reason.empty()) return {in.reshape.reason, nobody_stays};
  return {};
}

std::string StoppedWords(uint64_t epoch, int64_t step, const std::string& why,
                         std::optional<int64_t> staying, int64_t min_workers) {
  std::string out =
      absl::StrCat("epoch ", epoch, " stopped after step ", step, ", no step is lost: ", why);
  if (staying.has_value() && *staying >= min_workers)
    absl::StrAppend(&out, "; the run goes on with those who stay");
  if (staying.has_value() && *staying < min_workers)
    absl::StrAppend(&out, "; the run goes on when it has ", Count(min_workers, "worker"));
  return out;
}

}  // namespace tritter
