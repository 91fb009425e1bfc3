// Events in parts, until there are no more.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "tritterctl/run_api.h"

namespace tritter {

// The newest `newest` events (0: all) of `run` ("": of every run and the cluster), oldest first.
absl::StatusOr<std::deque<v1::Event>> NewestEvents(RunApi* client, const std::string& run,
                                                   size_t newest);

struct FollowOptions {
  int64_t after_id = 0;                                  // begins with the event after this one
  absl::Duration interval = absl::Milliseconds(500);     // between questions
  absl::Duration unreachable_limit = absl::Seconds(60);  // as WatchOptions
};

// Every event from there on as it happens, until `run` ends; with an empty run until `tick` says
// false, which is asked at least every 100 ms. Goes on through restarts of the coordinator. Errors:
// Cancelled (tick), Unavailable (away for longer than the limit), those of the service.
absl::Status FollowEvents(RunApi* client, Clock* clock, const std::string& run,
                          const FollowOptions& options,
                          const std::function<void(const v1::Event&)>& on_event,
                          const std::function<bool()>& tick);

}  // namespace tritter
