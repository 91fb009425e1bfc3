#include "coordinator/decide/loss.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/decide/words.h"

namespace tritter {

std::string GoneProcess(const std::string& process) {
  return absl::StrCat("its process", process.empty() ? "" : " (", process,
                      process.empty() ? "" : ")", " died or was cut off");
}

std::optional<Loss> DecideLoss(const Liveness& worker, const LivenessOptions& options) {
  if (worker.awaited) {
    const absl::Duration grace = worker.missed ? options.heartbeat_timeout : options.restart_grace;
    // One that calls lives, and is about to open its session.
    if (std::min(worker.awaited_for, worker.unheard_for) < grace) return std::nullopt;
    return Loss{"restart", absl::StrCat("did not come back after the coordinator's restart, silent "
                                        "for ",
                                        Seconds(std::min(worker.awaited_for, worker.unheard_for)))};
  }
  if (!worker.attached) {
    if (worker.detached_for < options.stream_grace) return std::nullopt;
    return Loss{"stream", GoneProcess(worker.process)};
  }
  if (worker.silent_for < options.heartbeat_timeout) return std::nullopt;
  return Loss{"silence",
              absl::StrCat("silent for ", Seconds(worker.silent_for),
                           worker.process.empty() ? "" : absl::StrCat(", ", worker.process))};
}

}  // namespace tritter
