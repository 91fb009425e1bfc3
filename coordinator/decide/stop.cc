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
    return {absl::StrCat(NamedWorkers(in.draining), leaving == 1 ? " is leaving" : " are leaving"),
            nobody_stays};
  }
  if (!in.reshape.reason.empty()) return {in.reshape.reason, nobody_stays};
  return {};
}

}  // namespace tritter
