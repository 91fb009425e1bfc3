// What `tritterctl local` says of a run that waits for workers which it is starting itself: nobody
// has to do anything about that. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace tritter {

// "waiting for worker-1 to connect"; empty where the coordinator's own words are to be shown.
// `cause`: Run.waiting_cause. `starting`: the workers that are not ready yet. `since_start`: of the
// youngest process; one that says it is ready is heard of by the coordinator a moment later.
std::string ConnectingWords(const std::string& cause, const std::vector<std::string>& starting,
                            absl::Duration since_start);

}  // namespace tritter
