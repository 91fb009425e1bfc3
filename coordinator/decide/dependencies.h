// Which runs does a run wait for? Pure.
#pragma once

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "coordinator/decide/wait_cause.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {

// A run that must be complete before another one begins.
struct DependencyView {
  std::string run_id;
  bool known = true;  // false: the rest says nothing
  std::string name = {};
  v1::RunState state = v1::RUN_STATE_QUEUED;
  std::string reason = {};  // why it is in that state
  int64_t step = 0, total_steps = 0;
  bool of = false;  // the one that a job works on, not one of `after`
};

// kNone when all are complete, kAfterUnfinished while waiting will do, kAfterFailed when somebody
// must act: one has failed, was cancelled or is not known. That one is then named.
Wait DecideDependencies(absl::Span<const DependencyView> dependencies);

}  // namespace tritter
