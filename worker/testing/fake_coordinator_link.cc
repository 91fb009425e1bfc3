#include "worker/testing/fake_coordinator_link.h"

#include <algorithm>

#include "common/status_macros.h"

namespace tritter {

void FakeCoordinatorLink::GoAway(absl::Status why) {
  MutexLock lock(&mu_);
  away_ = std::move(why);
}
void FakeCoordinatorLink::Return() {
  MutexLock lock(&mu_);
  away_ = absl::OkStatus();
  steps_refused_ = absl::OkStatus();
}
void FakeCoordinatorLink::RefuseSteps(absl::Status why) {
  MutexLock lock(&mu_);
  steps_refused_ = std::move(why);
}
void FakeCoordinatorLink::CloseEpoch() {
  MutexLock lock(&mu_);
  closed_ = true;
}
void FakeCoordinatorLink::MakeWait(int times) {
  MutexLock lock(&mu_);
  waits_ = times;
}
void FakeCoordinatorLink::EndWhenYielded(bool end) {
  MutexLock lock(&mu_);
  end_when_yielded_ = end;
}
void FakeCoordinatorLink::RefuseYields() {
  MutexLock lock(&mu_);
  refuse_yields_ = true;
}
std::vector<int64_t> FakeCoordinatorLink::yielded_at() const {
  MutexLock lock(&mu_);
  return yielded_at_;
}
std::vector<StepReport> FakeCoordinatorLink::steps() const {
  MutexLock lock(&mu_);
  return seen_.steps;
}
std::vector<EvaluationReport> FakeCoordinatorLink::evaluations() const {
  MutexLock lock(&mu_);
  return seen_.evaluations;
}
std::vector<std::string> FakeCoordinatorLink::log_lines() const {
  MutexLock lock(&mu_);
  std::vector<std::string> lines;
  for (const LogReport& line : seen_.log_lines) lines.push_back(line.line);
  return lines;
}
std::string FakeCoordinatorLink::failure() const {
  MutexLock lock(&mu_);
  return seen_.failure;
}
std::string FakeCoordinatorLink::failure_detail() const {
  MutexLock lock(&mu_);
  return seen_.failure_detail;
}
bool FakeCoordinatorLink::spec_unreadable() const {
  MutexLock lock(&mu_);
  return seen_.spec_unreadable;
}

bool FakeCoordinatorLink::failure_is_permanent() const {
  MutexLock lock(&mu_);
  return seen_.failure_is_permanent;
}
size_t FakeCoordinatorLink::largest_report() const {
  MutexLock lock(&mu_);
  return largest_report_;
}
int FakeCoordinatorLink::calls_while_away() const {
  MutexLock lock(&mu_);
  return refusals_;
}
std::vector<FakeCoordinatorLink::Commit> FakeCoordinatorLink::commits() const {
  MutexLock lock(&mu_);
  return commits_;
}
void FakeCoordinatorLink::AwaitRefusals(int count) {
  MutexLock lock(&mu_);
  while (refusals_ < count) changed_.Wait(&mu_);
}
void FakeCoordinatorLink::AwaitReportedStep(int64_t step) {
  MutexLock lock(&mu_);
  while (seen_.steps.empty() || seen_.steps.back().step < step) changed_.Wait(&mu_);
}

absl::Status FakeCoordinatorLink::ReachLocked() {
  if (closed_) return StaleEpochError("the epoch is closed");
  if (away_.ok()) return absl::OkStatus();
  ++refusals_;
  changed_.NotifyAll();
  return away_;
}

absl::Status FakeCoordinatorLink::PublishRendezvous(const EpochId&, const std::string& address) {
  {
    MutexLock lock(&mu_);
    RETURN_IF_ERROR(ReachLocked());
  }
  if (on_rendezvous_) on_rendezvous_(address);
  return absl::OkStatus();
}

absl::StatusOr<PlanAnswer> FakeCoordinatorLink::NextPlan(const EpochId&, int,
                                                         const PlanQuestion& question) {
  if (on_next_plan_) on_next_plan_(question);
  const int64_t from_step = question.from_step;
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(ReachLocked());
  if (question.yielded) {
    yielded_at_.push_back(from_step);
    if (refuse_yields_) return absl::InvalidArgumentError("no plan begins there");
    if (end_when_yielded_) return PlanAnswer(PlanDone{"the group has yielded"});
  }
  if (waits_ > 0) {
    --waits_;
    return PlanAnswer(PlanWait{absl::Milliseconds(1), "a worker is still missing"});
  }
  bool closing = false;  // again and again until it is committed
  for (const CheckpointOrder& order : script_.checkpoints) {
    const bool pause = order.step == from_step && from_step == script_.pause_at;
    const bool last = order.step == from_step && from_step >= script_.total_steps;
    if ((pause || last) && CommittedLocked(order.step)) return PlanAnswer(PlanDone{"committed"});
    closing = last && script_.due_at_start;
    if (pause || (last && !closing))
      return PlanAnswer(PlanWait{absl::Milliseconds(1), "the checkpoint is being written"});
  }
  if (from_step >= script_.total_steps && !closing)
    return PlanAnswer(PlanDone{"all steps are done"});
  Plan plan;
  plan.first_step = from_step;
  plan.end_step = std::min(from_step + script_.plan_steps, script_.total_steps);
  if (!closing) plan.segments = {{plan.first_step, plan.end_step, script_.phase, {{"text", 1.0}}}};
  plan.learning_rate.peak = script_.peak;
  plan.learning_rate.min = script_.peak * 0.1;
  plan.learning_rate.warmup_steps = 2;
  plan.learning_rate.decay_start_step = script_.total_steps - 2;
  plan.learning_rate.total_steps = script_.total_steps;
  plan.global_batch = script_.global_batch;
  plan.first_slot = from_step * script_.global_batch;
  int64_t position = 0;
  for (int r = 0; r < script_.world_size; ++r) {
    const int64_t count =
        script_.shares.empty() ? script_.global_batch / script_.world_size : script_.shares[r];
    plan.shares.push_back({r, position, count, std::min(script_.micro_batch, count)});
    position += count;
  }
  const bool due_at_start = script_.due_at_start && (plans_ == 0 || closing);
  const auto in_plan = [&](int64_t step) {
    if (step == plan.first_step) return due_at_start;
    return step > plan.first_step && step <= plan.end_step;
  };
  for (const CheckpointOrder& order : script_.checkpoints) {
    if (in_plan(order.step)) plan.checkpoints.push_back(order);
  }
  for (const int64_t step : script_.evaluate_at) {
    if (in_plan(step)) plan.evaluate_at.push_back(step);
  }
  ++plans_;
  return PlanAnswer(plan);
}

absl::Status FakeCoordinatorLink::Report(const EpochId&, const Progress& progress) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(ReachLocked());
  if (!progress.steps.empty() && !steps_refused_.ok()) {
    ++refusals_;
    changed_.NotifyAll();
    return steps_refused_;
  }
  largest_report_ = std::max(largest_report_, progress.steps.size());
  if (!requests_.insert(progress.request_id).second) return absl::OkStatus();
  const auto append = [](auto* to, const auto& from) {
    to->insert(to->end(), from.begin(), from.end());
  };
  append(&seen_.steps, progress.steps);
  append(&seen_.evaluations, progress.evaluations);
  append(&seen_.log_lines, progress.log_lines);
  if (!progress.failure.empty()) {
    seen_.failure = progress.failure;
    seen_.failure_detail = progress.failure_detail;
    seen_.failure_is_permanent = progress.failure_is_permanent;
    seen_.spec_unreadable = progress.spec_unreadable;
  }
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::StatusOr<bool> FakeCoordinatorLink::CommitShare(const EpochId&, const CheckpointOrder& order,
                                                      int rank,
                                                      const std::vector<ManifestFile>& files) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(ReachLocked());
  commits_.push_back({order, rank, files});
  if (!seen_.steps.empty()) commits_.back().last_step = seen_.steps.back().step;
  if (!seen_.evaluations.empty()) commits_.back().last_evaluation = seen_.evaluations.back().step;
  return CommittedLocked(order.step);
}

bool FakeCoordinatorLink::CommittedLocked(int64_t step) const {
  // The first answer is "waiting", so that the repeat is exercised.
  return std::count_if(commits_.begin(), commits_.end(),
                       [&](const Commit& c) { return c.order.step == step; }) > 1;
}

}  // namespace tritter
