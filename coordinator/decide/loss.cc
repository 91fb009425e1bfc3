#include "coordinator/decide/loss.h"

#include "absl/strings/str_cat.h"
#include "coordinator/decide/words.h"

namespace tritter {

std::optional<Loss> DecideLoss(const Liveness& worker, const LivenessOptions& options) {
  if (worker.awaited) {
    if (worker.awaited_for < options.restart_grace) return std::nullopt;
    return Loss{"restart", absl::StrCat("did not come back within ", Seconds(options.restart_grace),
                                        " of the coordinator's restart")};
  }
  if (!worker.attached) {
    if (worker.detached_for < options.stream_grace) return std::nullopt;
    return Loss{"stream", "stream broken"};
  }
  if (worker.silent_for < options.heartbeat_timeout) return std::nullopt;
  return Loss{"silence", absl::StrCat("silent for ", Seconds(worker.silent_for))};
}

}  // namespace tritter
