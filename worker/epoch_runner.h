// One epoch on one worker: form the group, get the state, execute plans, evaluate, checkpoint,
// report, leave.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/log.h"
#include "common/mutex.h"
#include "worker/batch_prefetcher.h"
#include "worker/cancellation.h"
#include "worker/checkpoint_writer.h"
#include "worker/coordinator_link.h"
#include "worker/counting_collective.h"
#include "worker/epoch_parts.h"
#include "worker/group_join.h"
#include "worker/plan_cursor.h"
#include "worker/plan_fetcher.h"
#include "worker/progress_reporter.h"
#include "worker/recent_reports.h"
#include "worker/training_observer.h"

namespace tritter {

struct EpochOutcome {
  enum class Kind {
    kDone,    // the coordinator has no more steps for this epoch
    kEnded,   // Cancel was called, or the coordinator knows a newer epoch
    kFailed,  // something failed here; it was reported
  };
  Kind kind = Kind::kFailed;
  absl::Status status;
  int64_t steps_done = 0;
};

// A state that has outlived its epoch, in the trainer that trained it, which is in no group. Whole.
struct HeldTrainer {
  EpochId id;                        // that trained it
  std::string spec_yaml;             // effective configuration of that epoch
  std::unique_ptr<Trainer> trainer;  // null: none
  Progress reports;                  // of steps up to its own that may not have been told yet
};

// Made for one epoch, run once by the training thread; the other methods are for any thread.
// Training needs the coordinator only to get the next plan and to commit checkpoints: while it is
// away the plan in hand is finished, then the epoch waits.
class EpochRunner {
 public:
  struct Options {
    EpochParts* parts =
        nullptr;  // none of these is owned; parts, env and clock live as long as the process
    CoordinatorLink* link = nullptr;
    Env* env = nullptr;
    Clock* clock = nullptr;
    TrainingObserver* observer = nullptr;  // may be null
    Assignment assignment = {};
    std::string request_prefix = {};  // unique per process
    Backoff backoff = {};
    absl::Duration report_interval = absl::Seconds(1);
    absl::Duration commit_poll = absl::Milliseconds(200);
    absl::Duration disk_retry = absl::Seconds(5);  // of a checkpoint, while the disk is full
    // A broken group is nobody's failure until the coordinator had this long to end the epoch.
    absl::Duration broken_group_grace = absl::Seconds(5);
    absl::Duration farewell_limit = absl::Seconds(10);  // to deliver the last reports
    // The same when the epoch was ended from outside; less than kEpochEndLimit, since the next one
    // waits for it.
    absl::Duration ended_flush_limit = absl::Seconds(1);
  };
  // `held` is taken where the assignment says that the epoch starts from it, else it is given up
  // before anything else takes memory.
  explicit EpochRunner(Options options, HeldTrainer held = {});
  ~EpochRunner();

  EpochOutcome Run();
  // After Run: the state as it is now, if it is whole and somebody could go on with it. Nothing
  // that is large stays here; but a checkpoint that is being written may hold up the destructor.
  HeldTrainer TakeState();

  // Where rank 0 listens. The first address counts.
  void SetRendezvous(const std::string& address);
  // The ranks stop at the next step that all of them end, and ask what to do. until_left: this one
  // leaves, so it is wished again after each step that there is still to do.
  void Yield(const std::string& reason, bool until_left);
  // Ends the epoch: Run returns kEnded soon, whatever it waits for.
  void Cancel(const std::string& reason);

  struct Status {
    EpochId id;
    int64_t step = 0;
    std::string state;  // "joining", "training", "waiting", "checkpointing"
    // Own forward and backward passes, smoothed over the steps; 0: none yet.
    double seconds_per_sequence = 0;
  };
  Status status() const;
  const Assignment& assignment() const { return options_.assignment; }

 private:
  absl::Status Prepare();
  // Opens and checks what this worker alone can get wrong, so that it fails before the others wait.
  absl::Status OpenOwn();
  absl::Status JoinOthers();
  absl::Status GetState();
  absl::Status ExecutePlans();
  // Both: true when the ranks have agreed to stop after the last step.
  absl::StatusOr<bool> ExecutePlan(const Plan& plan);
  absl::StatusOr<bool> ExecuteStep(const StepAction& action);
  // With sync outer a step is reported when its round has ended, since its loss is known then.
  void ReportStep(StepReport report, const StepStats& stats, int64_t own_tokens);
  absl::Status DoDueWork(const DueWork& due);
  void NoteSpeed(const StepStats& stats, int64_t sequences);
  // The failure of an earlier checkpoint, once.
  absl::Status CheckWriter();
  absl::Status TakeCheckpoint(const CheckpointOrder& order);
  absl::Status Evaluate();
  // Text as the weights continue the run's prompts now, into the run's folder.
  absl::Status Sample();
  absl::Status Leave();
  void LeaveGroup();
  EpochOutcome Conclude(absl::Status status);

  void CancelWith(absl::Status cause);
  absl::StatusOr<std::string> AwaitRendezvous();
  void SetState(EpochStage stage, const char* state);
  // Logs here and forwards the line to the coordinator.
  void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields);

  const Options options_;
  const EpochId id_;
  const int rank_;
  const int world_size_;
  Cancellation cancellation_;

  const std::unique_ptr<CheckpointStore> checkpoints_;

  std::atomic<bool> yield_wished_{false}, leaves_{false};

  // Of the training thread.
  RunSpec spec_;
  std::unique_ptr<EpochData> data_;
  std::unique_ptr<CheckpointReader> start_;  // until it is read
  bool holds_start_ = false;                 // trainer_ came with the state to start from
  EpochId state_of_;                         // epoch whose state trainer_ has
  bool committed_ = false;                   // the checkpoint of the run's last step
  bool hopeless_ = false;                    // failed in a way that the state may be to blame for
  Group group_;
  const CountingCollective* counted_ = nullptr;  // group_'s
  std::unique_ptr<Trainer> trainer_;
  std::vector<StepReport> unsettled_;  // steps of the round under way
  WindowShare windows_;                // of evaluations, in the plan in hand
  EpochStage stage_ = EpochStage::kSetUp;
  int64_t step_ = 0;
  // Monotonic time at which the step under way began: the end of what was done before it.
  absl::Duration step_began_;

  mutable Mutex mu_;
  CondVar changed_;
  Status status_ GUARDED_BY(mu_);
  std::string rendezvous_ GUARDED_BY(mu_);
  Collective* collective_ GUARDED_BY(mu_) = nullptr;  // for Abort; group_ owns it

  RecentReports recent_;

  // Threads of their own, which use what is above: ended first.
  ProgressReporter reporter_;
  PlanFetcher fetcher_;
  CheckpointWriter writer_;
  std::optional<BatchPrefetcher> batches_;  // once the data are open
};

}  // namespace tritter
