// Who trains a run: workers chosen for a new epoch, or the sentence that says what is missing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "coordinator/decide/wait_cause.h"
#include "model/run_spec.h"

namespace tritter {

enum class Standing {
  kIdle,      // healthy and free
  kBusy,      // at work for `run_name`
  kLeaving,   // told to leave an epoch, has not confirmed it yet, or between two streams
  kDraining,  // is about to go: gets no more work
  kLost,
};

struct WorkerView {
  std::string name;
  Standing standing = Standing::kIdle;
  std::string device;        // "cpu …" or "cuda:0 …"
  int64_t memory_bytes = 0;  // 0: unknown
  std::string run_name;      // kBusy, kLeaving; empty: it was in no epoch
  std::string why;           // kLost: what happened
  absl::Duration since;      // how long it has been in this standing
  bool holds = false;        // a run's state, in memory
  bool left = false;         // kLost: nothing did, it was told to leave
  std::string version = {};  // of its program; "": not known yet
  std::string run_id = {};   // of `run_name`; empty: not known any more
};

struct WorldNeeds {
  int64_t min_workers = 1, max_workers = 1;
  // "cpu", "cuda"; "auto": GPUs where enough are live, else CPUs; "any": both, GPUs first.
  std::string device = "auto";
  int64_t memory_bytes = 0;      // of each worker
  std::string not_on_cuda = {};  // why GPUs cannot train the run; "": they can
  // Workers in whose memory the state lies from which the run may go on: they are taken first, and
  // those that hold another run's state last.
  std::vector<std::string> holders = {};
  bool gpus_last = false;  // with "any": others wait who can use nothing else
  // By name: workers that cannot read the run's configuration, each with a sentence that says why.
  std::map<std::string, std::string> cannot_read = {};
  bool settled = false;  // its group stopped to be formed anew: nobody else is waited for
};
// Each worker needs `memory_bytes`.
WorldNeeds NeedsOf(const RunSpec& spec, int64_t memory_bytes);

struct WorldOptions {
  // With fewer than max_workers the newest arrival is given this long for others to follow.
  absl::Duration settle = absl::Seconds(2);
  // And workers on their way out of an epoch are waited for so long: they may hold its state.
  absl::Duration leave = absl::Seconds(5);
};

struct WorldDecision {
  std::vector<int> members;    // indices into the workers, by rank; empty: not now
  std::vector<int> preferred;  // with members: all that are free, the best first
  bool possible = false;       // enough suitable workers live, free or busy: waiting will do
  WaitCause cause = WaitCause::kNone;  // without members
  std::string reason;
};

// The kind of device that a group would have: "cpu", "cuda", "any".
std::string DeviceOf(const WorldNeeds& needs, absl::Span<const WorkerView> workers);

// Live workers that can serve, free or not, of the kind and version that a group would have. Not
// those that drain.
std::vector<int> Suitable(const WorldNeeds& needs, absl::Span<const WorkerView> workers);

// By rank: ranks go by the workers' names.
void SortByName(absl::Span<const WorkerView> workers, std::vector<int>* members);
std::string FormedOf(absl::Span<const WorkerView> workers, const std::vector<int>& members);

// Ranks go by the workers' names, so that the same workers get the same ranks.
WorldDecision FormWorld(const WorldNeeds& needs, absl::Span<const WorkerView> workers,
                        const WorldOptions& options = {});

}  // namespace tritter
