// One epoch on one simulated worker: form the group, get the state, execute plans, evaluate,
// checkpoint, report, leave. The conduct is that of worker/epoch_runner.* with its parts
// (plan_fetcher, progress_reporter, checkpoint_writer); the arithmetic is a chain of hashes.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/simulation/sim_worker.h"

namespace tritter::simulation {

class SimEpoch : public std::enable_shared_from_this<SimEpoch> {
 public:
  // `held`: what the worker has in memory; kept where the epoch begins with it.
  SimEpoch(SimWorker* worker, const v1::Assignment& assignment, std::optional<Held> held);

  void Start();
  void RendezvousKnown();
  void Yield() { yield_wished_ = true; }  // stop after a step, all together, and ask
  void Cancel();                          // ended from outside
  std::optional<Held> TakeState();        // once it has ended
  // How long it waits, or has waited last, for a plan or for a checkpoint to be committed.
  absl::Duration unanswered_for() const;
  bool awaits_rendezvous() const { return !rendezvous_; }
  void Fail(const std::string& failure, bool permanent);
  void ProcessDied();
  void Then(std::function<void()> next) { next_ = std::move(next); }  // once it has ended
  const std::function<void()>& next() const { return next_; }
  bool Is(const std::string& run, uint64_t epoch) const {
    return assignment_.run_id() == run && assignment_.epoch() == epoch;
  }
  void Describe(v1::Heartbeat* heartbeat) const;

 private:
  // Runs later, while the epoch goes on; the second form also once it was cancelled.
  void Later(absl::Duration delay, std::function<void()> act);
  void LaterEvenSo(absl::Duration delay, std::function<void()> act);
  template <typename Request>
  Request Make() const;

  void LoadState();
  void Publish();
  void JoinGroup();
  bool StartFromMemory();
  // plans
  void Prefetch(int64_t from, bool yielded);
  void Ask(int64_t from, bool yielded, absl::Duration pause);
  void TakePlan();
  // steps
  void NextStep();
  void StepDone(const RankStep& step, const absl::Status& status);
  void DoDueWork(std::function<void()> then);
  void Evaluate();
  void GroupBroken(const absl::Status& status);
  // reports
  void ReportLoop();
  void SendReport();
  void Repeat(const std::shared_ptr<v1::ReportRequest>& report, absl::Duration pause);
  int64_t OldestUndelivered() const;
  void AwaitDelivered(absl::Duration limit, std::function<void()> then);
  // checkpoints
  void StartCheckpoint(const v1::CheckpointOrder& order, std::function<void()> then);
  void WriteShare(const v1::CheckpointOrder& order, const std::string& content);
  absl::StatusOr<v1::CommitShareRequest> TryWrite(const v1::CheckpointOrder& order,
                                                  const std::string& content);
  void AwaitReports(const std::shared_ptr<v1::CommitShareRequest>& share);
  void CommitShare(const std::shared_ptr<v1::CommitShareRequest>& share, absl::Duration pause);
  void WriterEnds(const absl::Status& status);
  void WaitWriter(std::function<void()> then);

  void LeaveDone();
  void End();
  World* world() const { return worker_->parts().world; }

  SimWorker* const worker_;  // owns it
  const v1::Assignment assignment_;
  std::shared_ptr<Group> group_;
  std::string stage_ = "joining";
  bool rendezvous_ = false, joined_ = false, cancelled_ = false, ended_ = false, failed_ = false;
  std::function<void()> next_;

  int64_t step_ = 0;
  uint64_t state_ = 0;
  std::optional<v1::Plan> plan_;
  bool committed_ = false;  // the checkpoint of the run's last step
  int64_t total_steps_ = std::numeric_limits<int64_t>::max();  // of the run; a plan says
  std::optional<std::pair<int64_t, bool>> asked_;              // from which step, yielded
  std::optional<absl::Duration> asked_at_;                     // and it is not answered
  std::optional<v1::NextPlanResponse> answer_;
  absl::Duration waited_;  // for the newest answer
  bool wants_plan_ = false, yield_wished_ = false, yielded_ = false;

  uint64_t state_of_ = 0;     // the epoch that made sure of the state, 0: there is none yet
  v1::ReportRequest recent_;  // of all steps until now
  bool loaded_ = false, hopeless_ = false;

  v1::ReportRequest pending_;
  std::shared_ptr<v1::ReportRequest> sending_;
  int64_t next_report_ = 1;

  bool writing_ = false;
  absl::Status writer_failure_;
  std::vector<std::function<void()>> await_writer_;
  absl::Duration await_writer_since_, waited_for_writer_;
};

}  // namespace tritter::simulation
