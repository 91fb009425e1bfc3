// One epoch on one worker: form the group, get the state, execute plans, evaluate, checkpoint,
// report, leave.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/log.h"
#include "common/mutex.h"
#include "worker/batch_prefetcher.h"
#include "worker/cancellation.h"
#include "worker/checkpoint_writer.h"
#include "worker/coordinator_link.h"
#include "worker/epoch_parts.h"
#include "worker/group_join.h"
#include "worker/plan_cursor.h"
#include "worker/plan_fetcher.h"
#include "worker/progress_reporter.h"
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
  explicit EpochRunner(Options options);
  ~EpochRunner();

  EpochOutcome Run();

  // Where rank 0 listens. The first address counts.
  void SetRendezvous(const std::string& address);
  // Ends the epoch: Run returns kEnded soon, whatever it waits for.
  void Cancel(const std::string& reason);

  struct Status {
    EpochId id;
    int64_t step = 0;
    std::string state;  // "joining", "training", "waiting", "checkpointing"
  };
  Status status() const;
  const Assignment& assignment() const { return options_.assignment; }

 private:
  absl::Status Prepare();
  absl::Status ExecutePlans();
  absl::Status ExecutePlan(const Plan& plan);
  absl::Status ExecuteStep(const StepAction& action);
  // The failure of an earlier checkpoint, once.
  absl::Status CheckWriter();
  absl::Status TakeCheckpoint(const CheckpointOrder& order);
  absl::Status Evaluate();
  // Text as the weights continue the run's prompts now, into the run's folder.
  absl::Status Sample();
  absl::Status Leave();
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

  // Of the training thread.
  RunSpec spec_;
  std::unique_ptr<EpochData> data_;
  Group group_;
  std::unique_ptr<Trainer> trainer_;
  EpochStage stage_ = EpochStage::kSetUp;
  int64_t step_ = 0;
  // Monotonic time at which the step under way began: the end of what was done before it.
  absl::Duration step_began_;

  mutable Mutex mu_;
  CondVar changed_;
  Status status_ GUARDED_BY(mu_);
  std::string rendezvous_ GUARDED_BY(mu_);
  Collective* collective_ GUARDED_BY(mu_) = nullptr;  // for Abort; group_ owns it

  // Threads of their own, which use what is above: ended first.
  ProgressReporter reporter_;
  PlanFetcher fetcher_;
  CheckpointWriter writer_;
  std::optional<BatchPrefetcher> batches_;  // once the data are open
};

}  // namespace tritter
