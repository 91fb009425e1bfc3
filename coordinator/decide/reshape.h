// Which groups that train are to be formed anew: smaller or not at all, for a run that waits, or
// larger, with workers that nobody waits for. Pure, and the same answer as long as the facts are
// the same: a group that is about to stop still is what it was.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "coordinator/decide/fair_share.h"
#include "coordinator/decide/schedule.h"
#include "coordinator/decide/stop.h"
#include "coordinator/decide/wait_cause.h"
#include "coordinator/decide/world.h"

namespace tritter {

struct ReshapeOptions {
  // A group grows once it is this old, and the new workers have been free for so long.
  absl::Duration settle = absl::Seconds(10);
  // And not when it will be done within this time: forming a group costs seconds.
  absl::Duration worth = absl::Seconds(60);
};

struct TrainingRun {
  std::string run_id, name;
  int64_t priority = 0;
  int64_t created_ms = 0;
  WorldNeeds needs;
  std::vector<int> members;  // indices into the workers
  bool ending = false;       // paused or cancelled: its workers will be free
  absl::Duration age;        // of the group
  absl::Duration left;       // until its last step; zero: unknown
  std::string project = "default";
  bool preemptible = true;  // may give all its workers to a higher priority
};

struct ReshapeDecision {
  std::map<std::string, Reshape> reshapes;  // by run id; the others stay as they are
  std::string helped;                       // the waiting run that gets workers by that, or ""
  Wait wait;                                // what it waits for then
  // By run id: which runs it would get workers from, were they preemptible; a part of a sentence.
  std::map<std::string, std::string> kept;
};

// `waiting` and `placements`: as for and from Schedule. The first run in the queue that lacks
// workers gets them from runs of at most its priority that have more than their minimum, and from
// preemptible runs of a lower priority as a whole: the lowest first, of those the ones of the
// project that uses the most of its share, then the youngest; nobody more than needed, and nobody
// when all together are not enough.
ReshapeDecision DecideReshapes(absl::Span<const WaitingRun> waiting,
                               absl::Span<const Placement> placements,
                               absl::Span<const TrainingRun> training,
                               absl::Span<const WorkerView> workers,
                               const ReshapeOptions& options = {},
                               const ProjectShares& shares = {});

}  // namespace tritter
