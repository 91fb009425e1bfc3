// What the coordinator holds in memory of one run and of its live epoch. The store has everything
// that must survive.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/decide/checkpoints.h"
#include "coordinator/decide/plan.h"
#include "coordinator/decide/run_life.h"
#include "coordinator/decide/stop.h"
#include "coordinator/decide/straggler.h"
#include "coordinator/decide/wait_cause.h"
#include "coordinator/decide/world.h"
#include "coordinator/run_turn.h"
#include "coordinator/store/records.h"
#include "model/run_spec.h"
#include "tritter/v1/runs.pb.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

// A worker's word that its epoch has failed. It waits a moment for the loss that may lie behind it.
struct Complaint {
  int rank = 0;
  std::string text;
  bool permanent = false;
  absl::Duration at;        // Clock::Monotonic
  std::string detail = {};  // what the libraries below said
  bool unreadable = false;  // it cannot read the run, another may: no failure of the run
  // The end is decided, only the store did not take it: it is stored as it was decided.
  std::optional<EpochEnd> end = {};
};

struct EpochEntry {
  EpochRecord record;
  std::vector<v1::Plan> plans;  // handed out, in order, without gaps
  std::map<int64_t, std::map<int32_t, v1::CommitShareRequest>> shares;  // by step, by rank
  std::set<int> done;  // ranks that are told Done; after a restart all, where one was
  std::set<int> left;  // of those, who has left
  std::string done_reason;
  double seconds_per_step = 0;  // smoothed
  // It began with a state in memory: of rank `state_rank`, trained or compared by `state_epoch`.
  bool from_memory = false;
  int state_rank = 0;
  uint64_t state_epoch = 0;
  absl::Duration formed_at;                     // Clock::Monotonic; or found after a restart
  bool asked_briefly = false;                   // under a wish to stop, a few steps were given
  std::optional<Straggler> straggler;           // named
  std::optional<absl::Duration> slow_since;     // Clock::Monotonic: one may be, or be no more
  Reshape reshape;                              // what the scheduler wants of it
  std::optional<absl::Duration> yield_told_at;  // Clock::Monotonic: a member was told to stop
  bool progress = false;  // beyond what was ever reached, or a checkpoint was committed
  std::optional<Complaint> complaint;

  int64_t planned_end() const {
    return plans.empty() ? record.start_step : plans.back().end_step();
  }
  bool all_left() const { return left.size() == record.members.size(); }
  int RankOf(const std::string& worker) const;  // -1: no member
  bool OrdersCheckpoint(int64_t step) const;
  // Whether a checkpoint beyond `committed_step` lacks the share of this rank.
  bool Owes(int rank, int64_t committed_step) const;
};

// A worker's own computation of a sequence of the run, smoothed, as a plan was last divided by it.
struct KnownSpeed {
  std::string device;
  double seconds_per_sequence = 0;
};

// How an epoch ends whose forming was answered with an error that leaves open whether it is stored.
inline constexpr char kEndUnconfirmed[] = "the store did not confirm it";

struct RunEntry {
  std::unique_ptr<TurnGate> gate = std::make_unique<TurnGate>();
  RunRecord record;
  RunSpec spec;
  bool deleted = false;   // by its users: nobody finds it any more
  bool deleting = false;  // its files are on their way out: no new run may need it
  // Not empty: `spec`, or another row of the run, could not be read; the run waits with this cause.
  std::string spec_error;
  WaitCause error_cause = WaitCause::kSpecUnreadable;
  // One whose configuration cannot be read may have an export to make: it is not completed without.
  bool exports() const { return !spec_error.empty() || !spec.export_format.empty(); }
  int64_t parameters = 0;
  // What it asks of workers: of `spec`, which never changes. Found when it is first needed, and not
  // again in every round of decisions.
  std::optional<WorldNeeds> needs;
  std::optional<EpochEntry> epoch;           // live
  bool last_end_clean = false;               // of the newest epoch, once ended
  bool stopped_to_reform = false;            // it ended so a moment ago: its members are there
  absl::Duration ended_at;                   // Clock::Monotonic: that epoch; of this process alone
  EpochRecord last_epoch;                    // newest ended one, for late reports
  std::map<std::string, KnownSpeed> speeds;  // by worker; of earlier epochs too
  // With which state the newest epoch began, when that was in memory: decide/held.h.
  uint64_t origin_epoch = 0;
  int64_t origin_step = 0;
  uint64_t oldest_origin = 0;
  std::vector<v1::Checkpoint> checkpoints;  // committed, oldest first
  std::vector<v1::Artifact> artifacts;
  std::optional<ResumeDecision> resume;  // verified for the next epoch
  Wait obstacle;                         // why it cannot be verified now; looked at again later
  WaitCause wait_cause = WaitCause::kUndecided;  // looked at while it waits
  bool wait_stored = true;                       // the reason of that, as its event too
  std::string goes_on_from;                      // said beside that reason, and not stored
  bool committing = false;                       // files of a checkpoint are being committed
  std::string commit_error;                      // of the newest attempt; empty: it went well
  bool retention_due = false;                    // older checkpoints may go
  bool retaining = false;                        // the newest is read for that, the older removed
  bool choosing = false;                         // checkpoints are read for the next epoch
  bool exporting = false;
  std::optional<absl::StatusOr<v1::Artifact>> exported;  // done, but not stored yet
  absl::Duration export_retry_at;                        // Clock::Monotonic; of a deployment too
  bool deploying = false;
  std::set<std::string> deployed;  // servers that have loaded the model
  absl::Duration not_before;       // Clock::Monotonic: next epoch
  absl::Duration commit_retry_at;
  std::optional<v1::Failure> last_failure;        // of the newest epoch that failed
  std::string cause;                              // why the last epoch ended
  bool lost_member = false;                       // it was the loss of a worker
  double active_seconds = 0;                      // while active(), since the process started
  double productive_seconds = 0;                  // of those, on steps that a checkpoint holds
  std::map<int64_t, double> uncommitted_seconds;  // by step
  // For watchers: bounded, by increasing sequence.
  uint64_t version = 1;
  uint64_t next_sequence = 1;
  std::deque<std::pair<uint64_t, v1::StepMetrics>> recent_metrics;
  std::deque<std::pair<uint64_t, v1::EvaluationPoint>> recent_evaluations;
  std::map<std::string, v1::EvaluationPoint> last_evaluation;  // by source, averaged weights

  // Should train, export or be served, and is not; kNone: it need not or is.
  WaitCause waiting() const;
  // It has trained, and is not paused: what it waits and recovers counts too.
  bool active() const;
  bool mixed() const;  // AreMixed: the members of its live epoch
  int64_t committed_step() const { return checkpoints.empty() ? 0 : checkpoints.back().step(); }
  void Remember(const v1::StepMetrics& metrics);
  void Remember(const v1::EvaluationPoint& point);
  // Has ended: forgets what is not shown of it. One that failed may be resumed, and keeps its
  // evaluations for that.
  void Shrink();
  // There is an evaluation of that step.
  bool Evaluated(int64_t step) const;
  // Forgets what was said about steps beyond `step`: they are trained again.
  void RewindTo(int64_t step);
};

inline constexpr size_t kRecentMetrics = 512;

// How long the live epoch takes up to step `to`: steps as fast as its last 20, each evaluation as
// long as the newest. 0 when it has made no step yet.
double SecondsUntil(const RunEntry& run, int64_t to);

// What people and metrics call its state: StateName, but "waiting" when it is running and has no
// live epoch, so that it should train and does not.
std::string ShownState(const RunEntry& run);

// The message people see. Without last_evaluation and the like when there are none.
v1::Run DescribeRun(const RunEntry& run);

}  // namespace tritter
