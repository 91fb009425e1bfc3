// Following a run to its end through restarts of the coordinator.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "tritterctl/progress.h"
#include "tritterctl/run_api.h"

namespace tritter {

struct WatchOptions {
  absl::Duration timeout = absl::InfiniteDuration();
  // How long the coordinator may be away before that is an error.
  absl::Duration unreachable_limit = absl::Seconds(60);
  // Called at least every 100 ms; an error ends the watch with it. May be empty.
  std::function<absl::Status()> tick;
  // What is said of a run that waits, by one who knows more than the coordinator does; empty: what
  // that says. May be empty.
  std::function<std::string(const v1::Run&)> waiting;
  // Its workers are being started: nothing is shown of what the run was at before, until one of
  // them reports.
  bool begins = false;
  // Whether it is said that the coordinator does not answer, and that it does again.
  bool tell_away = true;
};

// The run in its terminal state. Meanwhile it tells, a line each, who was lost, why an epoch
// stopped, from where training goes on and what is trained again, why the run waits, that it was
// paused; also what happened while the coordinator was away. How the run ended is not told: the
// answer says it. Errors: Cancelled (SIGINT or SIGTERM came), DeadlineExceeded (timeout),
// Unavailable (away for longer than the limit), that of `tick`, and what the service says.
absl::StatusOr<v1::Run> WatchToEnd(RunApi* client, Clock* clock, const std::string& run,
                                   ProgressPrinter* progress, const WatchOptions& options);

// After the end: the exit code that says how the run ended.
int RunExitCode(const v1::Run& run);

}  // namespace tritter
