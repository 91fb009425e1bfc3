// Sends progress in batches from a thread of its own; a coordinator that is away costs nothing but
// memory, up to a bound.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/mutex.h"
#include "worker/cancellation.h"
#include "worker/coordinator_link.h"

namespace tritter {

// Thread-safe. Owned by the epoch. A batch keeps its request id over repeats, so nothing is counted
// twice.
class ProgressReporter {
 public:
  struct Options {
    CoordinatorLink* link = nullptr;             // not owned
    const Cancellation* cancellation = nullptr;  // not owned; ends a wait, not the sending
    EpochId id;
    std::string request_prefix;                  // unique per process and epoch
    bool send_metrics = true;                    // rank 0; others send log lines and failures only
    absl::Duration interval = absl::Seconds(1);  // between batches
    Backoff backoff;
    size_t max_steps = 20000;  // kept while the coordinator is away; the oldest go first
    size_t max_log_lines = 1000;
    std::function<void(const absl::Status&)>
        on_stale;  // the epoch is over for us; called from the sending thread
  };
  explicit ProgressReporter(Options options);
  ~ProgressReporter();  // sends nothing more

  void AddStep(StepReport report);
  void AddEvaluation(EvaluationReport report);
  void AddLogLine(LogReport line);
  struct Failure {  // as in Progress
    std::string text, detail = {};
    bool permanent = false, spec_unreadable = false;
  };
  // The epoch failed here. Waits until it is delivered, cancelled, or the time is over (false).
  bool Fail(const Failure& failure, absl::Duration limit);
  // Waits until losses and evaluations of steps up to `step` have been taken (or refused for good)
  // by the coordinator, however long it is away. Aborted once the epoch is cancelled.
  absl::Status AwaitDelivery(int64_t step);
  // Sends what there is at once; false when it was not delivered within the limit. A cancellation
  // that comes meanwhile ends the wait; an epoch that was ended before is flushed all the same,
  // since the coordinator takes late reports of steps that are committed.
  bool Flush(absl::Duration limit);

 private:
  void Loop();
  void Send(const Progress& batch);
  bool DeliveredLocked() const REQUIRES(mu_) { return pending_.empty() && !sending_; }
  // The oldest step whose loss or evaluation waits or is under way; the largest number if there is
  // none.
  int64_t OldestUndeliveredLocked() const REQUIRES(mu_);

  const Options options_;
  Mutex mu_;
  CondVar changed_;
  bool stop_ GUARDED_BY(mu_) = false;
  bool urgent_ GUARDED_BY(mu_) = false;
  bool sending_ GUARDED_BY(mu_) = false;
  int64_t sending_from_ GUARDED_BY(mu_) = 0;  // while sending: oldest step of the batch
  Progress pending_ GUARDED_BY(mu_);
  int64_t step_ GUARDED_BY(mu_) = 0;
  int64_t dropped_ GUARDED_BY(mu_) = 0;
  Cancellation stopping_;  // ends repeats when the owner goes
  std::thread thread_;     // last: starts when the rest is there
};

}  // namespace tritter
