#include "coordinator/decide/wait_cause.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/decide/words.h"

namespace tritter {

const char* WaitCauseName(WaitCause cause) {
  switch (cause) {
    case WaitCause::kNone:
      return "";
    case WaitCause::kUndecided:
      return "undecided";
    case WaitCause::kNoWorkers:
      return "no_workers";
    case WaitCause::kTooFewWorkers:
      return "too_few_workers";
    case WaitCause::kWorkersLeaving:
      return "workers_leaving";
    case WaitCause::kWorkersBusy:
      return "workers_busy";
    case WaitCause::kWorkersLost:
      return "workers_lost";
    case WaitCause::kWorkersDraining:
      return "workers_draining";
    case WaitCause::kWorkerTooOld:
      return "worker_too_old";
    case WaitCause::kTooLittleMemory:
      return "too_little_memory";
    case WaitCause::kWrongDevice:
      return "wrong_device";
    case WaitCause::kMixedDevices:
      return "mixed_devices";
    case WaitCause::kMixedVersions:
      return "mixed_versions";
    case WaitCause::kSettling:
      return "settling";
    case WaitCause::kBehindPriority:
      return "behind_priority";
    case WaitCause::kPreempting:
      return "preempting";
    case WaitCause::kBehindShare:
      return "behind_share";
    case WaitCause::kBehindOlder:
      return "behind_older";
    case WaitCause::kAfterUnfinished:
      return "after_unfinished";
    case WaitCause::kAfterFailed:
      return "after_failed";
    case WaitCause::kNoInferenceServers:
      return "no_inference_servers";
    case WaitCause::kServerAway:
      return "server_away";
    case WaitCause::kRetryDelay:
      return "retry_delay";
    case WaitCause::kCommitting:
      return "committing";
    case WaitCause::kRetaining:
      return "retaining";
    case WaitCause::kVerifying:
      return "verifying";
    case WaitCause::kCheckpointUnreadable:
      return "checkpoint_unreadable";
    case WaitCause::kCheckpointsDamaged:
      return "checkpoints_damaged";
    case WaitCause::kCheckpointsNotTidied:
      return "checkpoints_not_tidied";
    case WaitCause::kSpecUnreadable:
      return "spec_unreadable";
    case WaitCause::kRecordUnreadable:
      return "record_unreadable";
    case WaitCause::kExportNotStored:
      return "export_not_stored";
    case WaitCause::kStoreFailing:
      return "store_failing";
  }
  return "";
}

namespace {

// It could begin, were it not for others.
bool WaitsForOthers(WaitCause cause) {
  switch (cause) {
    case WaitCause::kWorkersBusy:
    case WaitCause::kBehindPriority:
    case WaitCause::kPreempting:
    case WaitCause::kBehindShare:
    case WaitCause::kBehindOlder:
    case WaitCause::kAfterUnfinished:
    case WaitCause::kAfterFailed:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string WaitText(const Wait& wait, const std::string& ended, const std::string& lost) {
  const bool said =
      !lost.empty() && absl::StrContains(wait.sentence, absl::StrCat(" ", lost, " was lost"));
  return ended.empty() || said || WaitsForOthers(wait.cause)
             ? wait.sentence
             : absl::StrCat(wait.sentence, "; the last epoch ended: ", ended);
}

bool ForWorkers(WaitCause cause) {
  switch (cause) {
    case WaitCause::kNoWorkers:
    case WaitCause::kTooFewWorkers:
    case WaitCause::kWorkersBusy:
    case WaitCause::kWorkersLost:
    case WaitCause::kWorkersDraining:
    case WaitCause::kPreempting:
    case WaitCause::kBehindPriority:
    case WaitCause::kBehindShare:
    case WaitCause::kBehindOlder:
      return true;
    default:
      return false;
  }
}

bool SaysTheSame(const std::string& a, const std::string& b) {
  const auto shape = [](const std::string& text) {
    std::string out;
    for (const char c : WithoutAges(text)) {
      if (!absl::ascii_isdigit(static_cast<unsigned char>(c)) && c != '.') out += c;
    }
    return out;
  };
  return shape(a) == shape(b);
}

}  // namespace tritter
