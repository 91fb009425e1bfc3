// Which waiting runs get which workers now: priority first, then those whose epoch was lost, then
// the project that uses the least of its share, then age.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "coordinator/decide/fair_share.h"
#include "coordinator/decide/world.h"

namespace tritter {

struct WaitingRun {
  std::string run_id;
  std::string name;
  int64_t priority = 0;
  int64_t created_ms = 0;
  WorldNeeds needs;
  Wait blocked = {};  // why it cannot start now whatever workers there are
  std::string project = "default";
  // Its group stopped a moment ago and left its newest state in memory alone: as many of
  // needs.holders as it needs at least are nobody else's until it has begun again. With them alone
  // it passes a run that is ahead and waits for workers; it then gets no more.
  bool keeps_holders = false;
  bool interrupted = false;  // as QueuedRun
};

struct Placement {
  std::string run_id;
  std::vector<int> members;            // indices into the workers; empty: waits
  WaitCause cause = WaitCause::kNone;  // without members
  std::string reason;                  // of the placement or of the waiting; never empty
};

// One placement for each run, in queue order. A run that waits for workers which exist keeps them
// from those behind it; a run that asks for more than there are does not. All runs that can begin
// get their minimum first; what is left goes to them up to their maximum, the highest priority
// first, and among equals one each in turn, to the project of the least load. `shares`: of the runs
// that train.
std::vector<Placement> Schedule(absl::Span<const WaitingRun> runs,
                                absl::Span<const WorkerView> workers,
                                const WorldOptions& options = {}, const ProjectShares& shares = {});

}  // namespace tritter
