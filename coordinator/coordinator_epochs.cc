// Epochs: ended by losses, complaints and completion; formed from healthy workers.
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/checkpoint_files.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/memory.h"
#include "coordinator/decide/schedule.h"
#include "coordinator/decide/words.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

// A reason without its figures: ages move all the time and are no news.
std::string Shape(const std::string& reason) {
  std::string out;
  for (const char c : reason) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c)) && c != '.') out += c;
  }
  return out;
}

}  // namespace

void Coordinator::CheckWorkers() {
  const absl::Duration now = clock_->Monotonic();
  for (WorkerEntry* worker : workers_.MarkLost(now, options_.liveness)) {
    LogWarning("worker_lost", {{"worker", worker->name}, {"why", worker->lost_why}});
    ++stats_.losses_by_reason[worker->lost_kind];
    const std::string cause = absl::StrCat("worker ", worker->name, " lost: ", worker->lost_why);
    RecordLoss(*worker, cause);
    if (worker->session != 0 && worker->sink != nullptr) {
      // Silent: should it speak again it opens a session anew.
      worker->sink->Close(
          absl::AbortedError(absl::StrCat("worker ", worker->name, " was ", worker->lost_why)));
      workers_.Detach(worker, now);
    }
  }
  for (auto& [name, worker] : workers_.all()) {
    if (worker.lost && !worker.run_id.empty()) {
      const WorkerEntry lost = worker;
      EndEpochOfLost(lost, absl::StrCat("worker ", lost.name, " lost: ", lost.lost_why));
    }
  }
  workers_.Forget(now, options_.forget_lost_workers);
}

void Coordinator::RecordLoss(const WorkerEntry& worker, const std::string& cause) {
  WriteBatch batch;
  batch.events = {NewEvent(worker.run_id, kEventWorkerLost, cause)};
  Write(batch).IgnoreError();  // an event only; the loss itself is a fact without it
  if (const auto it = runs_.find(worker.run_id); it != runs_.end()) Touch(&it->second);
}

void Coordinator::EndEpochOfLost(const WorkerEntry& worker, const std::string& cause) {
  const auto it = runs_.find(worker.run_id);
  if (it == runs_.end()) return;
  RunEntry& run = it->second;
  if (!run.epoch.has_value() || run.epoch->record.epoch != worker.epoch) return;
  EpochEnd end;
  end.cause = cause;
  end.progress = run.epoch->progress;
  const int rank = run.epoch->RankOf(worker.name);
  if (run.epoch->done.contains(rank)) {
    // It had nothing left to do. The epoch is as good as ended when the others have left too.
    run.epoch->left.insert(rank);
    if (run.epoch->left.size() < run.epoch->record.members.size()) return;
    end = {.clean = true};
  }
  run.lost_member = !end.clean;
  EndEpoch(&run, end);
}

void Coordinator::CheckEpochs() {
  const absl::Duration now = clock_->Monotonic();
  for (auto& [id, run] : runs_) {
    if (!run.epoch.has_value()) FinishIfTrained(&run);
    if (!run.epoch.has_value() || !run.epoch->complaint.has_value()) continue;
    const Complaint& complaint = *run.epoch->complaint;
    bool detached = false;  // a member may be about to be lost: then that is the cause
    for (const MemberRecord& member : run.epoch->record.members) {
      const WorkerEntry* worker = workers_.Find(member.worker);
      detached = detached || worker == nullptr || worker->session == 0;
    }
    const absl::Duration waited = now - complaint.at;
    if (!complaint.permanent && waited < options_.liveness.blame_window) continue;
    if (!complaint.permanent && detached && waited < options_.liveness.heartbeat_timeout) continue;
    run.lost_member = false;
    EndEpoch(&run, {.permanent = complaint.permanent,
                    .progress = run.epoch->progress,
                    .cause = complaint.text});
  }
}

// The last checkpoint may be recorded after the epoch was lost, or be adopted after a restart.
void Coordinator::FinishIfTrained(RunEntry* run) {
  if (!NeedsWorkers(run->record.state) || run->committing || !run->spec_error.empty() ||
      run->committed_step() < run->record.total_steps)
    return;
  const RunVerdict verdict = DecideAfterEpoch(run->record, {.clean = true}, run->committed_step(),
                                              run->exports(), options_.retry);
  RunRecord next = run->record;
  next.state = verdict.state;
  next.reason = verdict.reason;
  next.step = run->committed_step();
  ChangeState(run, next, absl::StrCat("run_", StateName(next.state)))
      .status()
      .IgnoreError();  // the next tick tries again
}

void Coordinator::EndEpoch(RunEntry* run, const EpochEnd& end) {
  EpochRecord ended = run->epoch->record;
  ended.live = false;
  ended.ended_ms = NowMs();
  ended.end_reason = end.clean ? run->epoch->done_reason : end.cause;
  if (!end.clean && run->epoch->complaint.has_value() && run->epoch->complaint->text != end.cause) {
    absl::StrAppend(&ended.end_reason, " (", run->epoch->complaint->text, ")");
  }
  EpochEnd named = end;
  named.cause = ended.end_reason;
  const RunVerdict verdict =
      DecideAfterEpoch(run->record, named, run->committed_step(), run->exports(), options_.retry);
  RunRecord next = run->record;
  next.state = verdict.state;
  next.reason = verdict.reason;
  next.failures = verdict.failures;
  next.epochs_lost += !end.clean;
  next.intent = Intent::kRun;
  if (verdict.state != v1::RUN_STATE_RUNNING) next.step = run->committed_step();
  if (IsFinal(next.state)) next.finished_ms = NowMs();
  WriteBatch batch;
  batch.runs = {next};
  batch.epochs = {ended};
  batch.forget_epochs = {{ended.run_id, ended.epoch}};
  batch.events = {NewEvent(ended.run_id, end.clean ? kEventEpochCompleted : kEventEpochLost,
                           absl::StrCat("epoch ", ended.epoch, " ended: ", ended.end_reason))};
  AddReport(*run, next, nullptr, &batch);
  if (next.state != v1::RUN_STATE_RUNNING) {
    batch.events.push_back(
        NewEvent(ended.run_id, absl::StrCat("run_", StateName(next.state)), next.reason));
  }
  if (absl::Status s = Write(batch); !s.ok()) {
    // Nothing has changed; the next tick finds the same facts and tries again.
    LogError("epoch_end_not_stored", {{"run", ended.run_id}, {"error", std::string(s.message())}});
    if (!end.clean && !run->epoch->complaint.has_value())
      run->epoch->complaint = Complaint{0, end.cause, end.permanent, clock_->Monotonic()};
    return;
  }
  const absl::Duration now = clock_->Monotonic();
  for (const MemberRecord& member : ended.members) {
    WorkerEntry* worker = workers_.Find(member.worker);
    if (worker == nullptr || worker->run_id != ended.run_id || worker->epoch != ended.epoch)
      continue;
    workers_.Release(worker, now);
    if (end.clean || worker->sink == nullptr) continue;
    v1::Command command;
    command.mutable_end_epoch()->set_run_id(ended.run_id);
    command.mutable_end_epoch()->set_epoch(ended.epoch);
    command.mutable_end_epoch()->set_reason(ended.end_reason);
    worker->sink->Push(command);  // it counts as leaving until a heartbeat says that it is idle
  }
  run->record = std::move(next);
  run->last_epoch = std::move(ended);
  run->last_end_clean = end.clean;
  run->cause = end.clean ? "" : run->last_epoch.end_reason;
  run->epoch.reset();
  run->resume.reset();
  run->not_before = now + verdict.retry_after;
  Touch(run);
  kicked_ = true;
  wake_.NotifyAll();
}

v1::Command Coordinator::AssignmentFor(const RunEntry& run, int rank) {
  const EpochRecord& epoch = run.epoch->record;
  v1::Command command;
  v1::Assignment* a = command.mutable_assignment();
  a->set_run_id(epoch.run_id);
  a->set_epoch(epoch.epoch);
  a->set_rank(rank);
  a->set_world_size(static_cast<int32_t>(epoch.members.size()));
  a->set_spec_yaml(run.record.spec_yaml);
  a->set_run_dir(run.record.run_dir);
  a->set_start_step(epoch.start_step);
  a->set_manifest_sha256(epoch.manifest_sha256);
  a->set_collective_timeout_ms(absl::ToInt64Milliseconds(options_.collective_timeout));
  int32_t next = 0;
  for (const MemberRecord& member : epoch.members) {
    v1::RunMember* m = a->add_members();
    m->set_worker(member.worker);
    m->set_incarnation(member.incarnation);
    m->set_rank(next++);
    m->set_device(member.device);
  }
  return command;
}

absl::Status Coordinator::FormEpoch(RunEntry* run, const std::vector<std::string>& names,
                                    const std::string& reason) {
  const ResumeDecision& resume = *run->resume;
  EpochEntry epoch;
  EpochRecord& e = epoch.record;
  e.run_id = run->record.run_id;
  e.epoch = run->record.epoch + 1;
  e.start_step = resume.step;
  e.started_ms = NowMs();
  for (const std::string& name : names) {
    const WorkerEntry* worker = workers_.Find(name);
    e.members.push_back(
        {name, worker->incarnation, worker->info.device(), worker->info.memory_bytes()});
  }
  std::vector<v1::Checkpoint> checkpoints = run->checkpoints;
  WriteBatch batch;
  for (const int64_t step : resume.skipped) {
    batch.dropped_checkpoints.push_back({e.run_id, step});
    std::erase_if(checkpoints, [&](const v1::Checkpoint& c) { return c.step() == step; });
  }
  if (!checkpoints.empty()) e.manifest_sha256 = checkpoints.back().manifest_sha256();
  RunRecord next = run->record;
  next.state = v1::RUN_STATE_RUNNING;
  next.epoch = e.epoch;
  next.step = resume.step;
  next.reason = absl::StrCat("epoch ", e.epoch, " ", reason, " trains ", resume.reason);
  if (next.started_ms == 0) next.started_ms = e.started_ms;
  batch.runs = {next};
  batch.epochs = {e};
  batch.superseded = {{e.run_id, resume.step}};
  batch.events = {NewEvent(e.run_id, kEventEpochFormed, next.reason)};
  RETURN_IF_ERROR(Write(batch));
  ++stats_.epochs_by_reason[e.epoch == 1         ? "start"
                            : run->cause.empty() ? "resume"
                            : run->lost_member   ? "loss"
                                                 : "failure"];
  run->record = std::move(next);
  run->checkpoints = std::move(checkpoints);
  run->epoch = std::move(epoch);
  run->last_end_clean = false;
  run->cause.clear();
  run->uncommitted_seconds.clear();
  run->RewindTo(resume.step);
  run->resume.reset();
  for (size_t i = 0; i < names.size(); ++i) {
    WorkerEntry* worker = workers_.Find(names[i]);
    workers_.Assign(worker, run->record.run_id, run->record.epoch, clock_->Monotonic());
    if (worker->sink == nullptr) continue;
    worker->sink->Push(AssignmentFor(*run, static_cast<int>(i)));
    worker->told_at = clock_->Monotonic();
  }
  Touch(run);
  return absl::OkStatus();
}

void Coordinator::SetWaiting(RunEntry* run, const std::string& reason) {
  const std::string full =
      run->cause.empty() ? reason : absl::StrCat(reason, "; the last epoch ended: ", run->cause);
  if (run->record.reason == full) return;
  const bool news = Shape(run->record.reason) != Shape(full);
  run->record.reason = full;
  if (!news) return;
  Touch(run);
  WriteBatch batch;
  batch.runs = {run->record};
  batch.events = {NewEvent(run->record.run_id, kEventRunWaiting, full)};
  if (absl::Status s = Write(batch); !s.ok()) {
    LogWarning("reason_not_stored",
               {{"run", run->record.run_id}, {"error", std::string(s.message())}});
  }
}

std::vector<Placement> Coordinator::Decide() {
  const absl::Duration now = clock_->Monotonic();
  std::map<std::string, std::string> names;
  std::vector<WaitingRun> waiting;
  for (auto& [id, run] : runs_) {
    names[id] = run.record.name;
    if (!NeedsWorkers(run.record.state) || run.epoch.has_value()) continue;
    WaitingRun w{id, run.record.name, run.record.priority, run.record.created_ms, {}, ""};
    w.needs = NeedsOf(run.spec,
                      TrainingBytes(run.spec, run.spec.micro_batch > 0 ? run.spec.micro_batch : 1));
    if (run.committing) w.blocked = "a checkpoint is being committed";
    if (run.retaining) w.blocked = "older checkpoints are being removed";
    if (!run.spec_error.empty()) w.blocked = run.spec_error;
    if (now < run.not_before && !run.obstacle.empty()) {
      w.blocked = run.obstacle;
    } else if (now < run.not_before) {
      w.blocked =
          absl::StrCat("tries again in ", Seconds(run.not_before - now), " (", run.record.failures,
                       " of ", options_.retry.budget, " without progress)");
    }
    waiting.push_back(std::move(w));
  }
  if (waiting.empty()) return {};
  return Schedule(waiting, workers_.Views(now, names), options_.world);
}

void Coordinator::StartVerification(std::vector<std::string> run_ids) {
  if (run_ids.empty()) return;
  {
    MutexLock lock(&mu_);
    if (verifying_ || stopping_) return;
    verifying_ = true;
    for (const std::string& id : run_ids) runs_.at(id).choosing = true;
  }
  auto verify = [this, ids = std::move(run_ids)] {
    for (const std::string& id : ids) ChooseResume(id);
    MutexLock lock(&mu_);
    for (const std::string& id : ids) runs_.at(id).choosing = false;
    verifying_ = false;
    kicked_ = true;
    wake_.NotifyAll();
  };
  if (!options_.background) return verify();
  if (verify_thread_.joinable()) verify_thread_.join();  // the one before has ended
  verify_thread_ = std::thread(std::move(verify));
}

void Coordinator::ChooseResume(const std::string& run_id) {
  constexpr absl::Duration kLookAgain = absl::Seconds(5);
  std::vector<v1::Checkpoint> checkpoints;
  std::unique_ptr<CheckpointStore> store;
  const auto wait = [&](RunEntry* run, std::string obstacle) REQUIRES(mu_) {
    if (!NeedsWorkers(run->record.state) || run->epoch.has_value()) return;  // by now
    run->obstacle = std::move(obstacle);
    run->not_before = clock_->Monotonic() + kLookAgain;
    SetWaiting(run, run->obstacle);
  };
  {
    MutexLock lock(&mu_);
    RunEntry& run = runs_.at(run_id);
    if (absl::Status s = RecoverFolders(&run); !s.ok()) {
      wait(&run, absl::StrCat("its checkpoints cannot be tidied: ", std::string(s.message())));
      return;
    }
    checkpoints = run.checkpoints;
    store = CheckpointsOf(run);
  }
  std::vector<CheckedCheckpoint> checked;
  for (auto it = checkpoints.rbegin(); it != checkpoints.rend(); ++it) {
    checked.push_back({it->step(), VerifyRecordedCheckpoint(store.get(), *it)});
    if (checked.back().status.ok()) break;
  }
  ResumeDecision decision = DecideResume(checked);
  MutexLock lock(&mu_);
  RunEntry& run = runs_.at(run_id);
  if (decision.wait) return wait(&run, std::move(decision.reason));
  run.obstacle.clear();
  run.resume = std::move(decision);
}

void Coordinator::Place() {
  std::vector<std::string> unverified;
  {
    MutexLock lock(&mu_);
    if (stopping_) return;
    for (const Placement& p : Decide()) {
      if (!p.members.empty() && !runs_.at(p.run_id).resume.has_value())
        unverified.push_back(p.run_id);
    }
  }
  StartVerification(std::move(unverified));
  MutexLock lock(&mu_);
  std::vector<std::string> names;
  for (const auto& [name, worker] : workers_.all()) names.push_back(name);  // the order of Views
  for (const Placement& p : Decide()) {
    RunEntry& run = runs_.at(p.run_id);
    if (p.members.empty()) {
      SetWaiting(&run, p.reason);
      continue;
    }
    if (!run.resume.has_value()) continue;  // placed only now: the next tick verifies
    std::vector<std::string> members;
    for (const int m : p.members) members.push_back(names[m]);
    if (absl::Status s = FormEpoch(&run, members, p.reason); !s.ok()) {
      run.record.reason = absl::StrCat("its epoch cannot be stored: ", std::string(s.message()));
      LogError("epoch_not_stored", {{"run", p.run_id}, {"error", std::string(s.message())}});
    }
  }
}

}  // namespace tritter
