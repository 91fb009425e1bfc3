// Log lines as they come, through restarts of the coordinator.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "tritterctl/run_api.h"

namespace tritter {

struct LogFollowOptions {
  std::string worker;  // only lines of this one; empty: of all
  int tail = 0;        // begins with the newest so many, of all workers; 0: with all that are kept
  absl::Duration interval = absl::Milliseconds(500);     // between attempts
  absl::Duration unreachable_limit = absl::Seconds(60);  // as WatchOptions
};

// Every log line of `run` (id or name; then the newest of that name now) as it comes, each once,
// until the run ends or `tick`, which is asked at least every 100 ms, says false. Goes on through
// restarts of a coordinator that was reached once: no line carries a number after which to ask, so
// all kept lines are asked for again and those seen before (same time, worker and text, as often as
// they were seen) left out. Errors: Cancelled (tick), Unavailable (never reached, or away for
// longer than the limit), those of the service.
absl::Status FollowLogs(RunApi* client, Clock* clock, const std::string& run,
                        const LogFollowOptions& options,
                        const std::function<void(const v1::LogLine&)>& on_line,
                        const std::function<bool()>& tick);

}  // namespace tritter
