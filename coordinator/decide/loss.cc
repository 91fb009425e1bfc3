#include "coordinator/decide/loss.h"

#include "absl/strings/str_cat.h"
#include "coordinator/decide/words.h"

namespace tritter {

std::optional<Loss> DecideLoss(const Liveness& worker, const LivenessOptions& options) {
  if (worker.awaited) {
    const absl::Duration grace = worker.missed ? options.heartbeat_timeout : options.restart_grace;
    if (worker.awaited_for < grace) return std::nullopt;
    return Loss{"restart", absl::StrCat("did not come back within ", Seconds(grace),
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
