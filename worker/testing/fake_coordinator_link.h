// A coordinator in memory: hands out plans over a run of given length, counts what it is told, can
// be away or have moved on.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "worker/coordinator_link.h"

namespace tritter {

// Thread-safe. Plans have `plan_steps` steps each.
class FakeCoordinatorLink : public CoordinatorLink {
 public:
  struct Script {
    int64_t total_steps = 12;
    int64_t plan_steps = 4;
    int64_t global_batch = 4;
    int world_size = 1;
    int64_t micro_batch = 1;
    std::vector<int64_t> shares = {};  // of a batch, by rank; of equal size where it is empty
    // After the last step, and at a pause, it lets wait until the checkpoint ordered there is
    // committed.
    std::vector<CheckpointOrder> checkpoints = {};
    int64_t pause_at = -1;
    std::vector<int64_t> evaluate_at = {};
    TrainingPhase phase = TrainingPhase::kFull;
    double peak = 1.0;  // learning rate after the warm-up
    // Ordered at the first step of the first plan: they were due when an earlier epoch ended.
    bool due_at_start = false;
  };
  explicit FakeCoordinatorLink(Script script) : script_(std::move(script)) {}

  // Every call fails with `why` until Return.
  void GoAway(absl::Status why = absl::UnavailableError("connection refused"));
  void Return();
  // Reports with steps fail with `why` until Return, as where a full disk cannot hold them.
  void RefuseSteps(absl::Status why);
  // Every call fails as for a closed epoch.
  void CloseEpoch();
  // Called, without locks held, at the start of each NextPlan.
  void OnNextPlan(std::function<void(const PlanQuestion&)> hook) {
    on_next_plan_ = std::move(hook);
  }
  void OnRendezvous(std::function<void(const std::string&)> hook) {
    on_rendezvous_ = std::move(hook);
  }
  // Lets this many NextPlan calls answer "wait" first.
  void MakeWait(int times);
  // What ranks that have yielded are told: to be done with the epoch, else to go on.
  void EndWhenYielded(bool end);
  // As a coordinator that does not know of yielding: from there on no plan begins.
  void RefuseYields();
  // Every question that was asked with `yielded`, in turn.
  std::vector<int64_t> yielded_at() const;

  // What was reported, each request id counted once.
  std::vector<StepReport> steps() const;
  std::vector<EvaluationReport> evaluations() const;
  std::vector<std::string> log_lines() const;
  std::string failure() const;
  std::string failure_detail() const;
  bool failure_is_permanent() const;
  bool spec_unreadable() const;
  int calls_while_away() const;
  size_t largest_report() const;  // in steps
  struct Commit {
    CheckpointOrder order;
    int rank;
    std::vector<ManifestFile> files;
    int64_t last_step = 0;        // whose loss had been reported
    int64_t last_evaluation = 0;  // whose evaluation had been reported
  };
  std::vector<Commit> commits() const;  // every CommitShare that was answered
  // Blocks until this many calls were refused because we are away.
  void AwaitRefusals(int count);
  void AwaitReportedStep(int64_t step);

  absl::Status PublishRendezvous(const EpochId& id, const std::string& address) override;
  absl::StatusOr<PlanAnswer> NextPlan(const EpochId& id, int rank,
                                      const PlanQuestion& question) override;
  absl::Status Report(const EpochId& id, const Progress& progress) override;
  absl::StatusOr<bool> CommitShare(const EpochId& id, const CheckpointOrder& order, int rank,
                                   const std::vector<ManifestFile>& files) override;

 private:
  absl::Status ReachLocked() REQUIRES(mu_);
  bool CommittedLocked(int64_t step) const REQUIRES(mu_);

  const Script script_;
  std::function<void(const PlanQuestion&)> on_next_plan_;
  std::function<void(const std::string&)> on_rendezvous_;
  mutable Mutex mu_;
  CondVar changed_;
  absl::Status steps_refused_ GUARDED_BY(mu_);
  absl::Status away_ GUARDED_BY(mu_);  // not OK: the answer of every call
  bool closed_ GUARDED_BY(mu_) = false;
  int waits_ GUARDED_BY(mu_) = 0;
  int plans_ GUARDED_BY(mu_) = 0;  // handed out
  bool end_when_yielded_ GUARDED_BY(mu_) = false, refuse_yields_ GUARDED_BY(mu_) = false;
  std::vector<int64_t> yielded_at_ GUARDED_BY(mu_);
  int refusals_ GUARDED_BY(mu_) = 0;
  size_t largest_report_ GUARDED_BY(mu_) = 0;
  std::set<std::string> requests_ GUARDED_BY(mu_);
  Progress seen_ GUARDED_BY(mu_);
  std::vector<Commit> commits_ GUARDED_BY(mu_);
};

}  // namespace tritter
