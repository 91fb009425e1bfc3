// Epochs: ended by losses, complaints and completion; formed from healthy workers.
#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/memory.h"
#include "coordinator/decide/schedule.h"
#include "coordinator/decide/words.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

bool WaitsForWorkers(const RunEntry& run) {
  return NeedsWorkers(run.record.state) && !run.epoch.has_value() && IsTraining(run.spec);
}

// Without an epoch, and there is nothing more to train.
bool MayBeTrained(const RunEntry& run) {
  return NeedsWorkers(run.record.state) && !run.committing && run.spec_error.empty() &&
         IsTraining(run.spec) && run.committed_step() >= run.record.total_steps;
}

// Of a worker that is lost.
std::string CauseOf(const WorkerEntry& worker) {
  return absl::StrCat(NamedWorker(worker.name), worker.lost && !worker.left ? " lost: " : " ",
                      worker.lost_why);
}

// Of the loss that ends its epoch: with those that were lost from it at the same time.
std::string CauseOf(const WorkerEntry& worker, const std::vector<WorkerEntry>& lost) {
  std::vector<std::string> names, whys;
  for (const WorkerEntry& other : lost) {
    if (other.run_id != worker.run_id || other.epoch != worker.epoch || other.left) continue;
    names.push_back(other.name);
    whys.push_back(absl::StrCat(other.name, ": ", other.lost_why));
  }
  if (worker.left || names.size() < 2) return CauseOf(worker);
  return absl::StrCat(NamedWorkers(names), " lost: ", absl::StrJoin(whys, "; "));
}

const WorldNeeds& NeedsOfRun(RunEntry* run) {
  if (!run->needs.has_value()) {
    const int64_t micro_batch = std::max<int64_t>(1, run->spec.micro_batch);
    run->needs = NeedsOf(run->spec, TrainingBytes(run->spec, micro_batch));
  }
  return *run->needs;
}

}  // namespace

void Coordinator::CheckWorkers() {
  const absl::Duration now = clock_->Monotonic();
  constexpr char kLeft[] = "left, as it was told to";
  std::vector<WorkerEntry> lost, replaced = std::exchange(replaced_, {});
  for (WorkerEntry& worker : replaced) {
    if (std::exchange(worker.lost, false)) continue;  // that is known
    worker.left = LeftAsTold(worker);
    worker.lost = true;
    worker.lost_why = kLeft;
    if (!worker.left) {
      const WorkerEntry* next = workers_.Find(worker.name);
      worker.lost_why = absl::StrCat(
          GoneProcess(WorkerRegistry::ProcessIfKnown(worker)), ", a new one",
          next == nullptr ? "" : absl::StrCat(" (", WorkerRegistry::ProcessOf(*next), ")"),
          " took its place");
      ++stats_.losses_by_reason["replaced"];
    }
    lost.push_back(worker);
  }
  for (WorkerEntry* worker : workers_.MarkLost(now, options_.liveness)) {
    worker->left = worker->session == 0 && LeftAsTold(*worker);
    if (worker->left) {
      worker->lost_why = kLeft;
      lost.push_back(*worker);
      continue;
    }
    LogWarning("worker_lost", {{"worker", worker->name}, {"why", worker->lost_why}});
    ++stats_.losses_by_reason[worker->lost_kind];
    lost.push_back(*worker);
    if (worker->session != 0 && worker->sink != nullptr) {
      // Silent: should it speak again it opens a session anew.
      worker->sink->Close(
          absl::AbortedError(absl::StrCat("worker ", worker->name, " was ", worker->lost_why)));
      workers_.Detach(worker, now);
    }
  }
  RecordLosses(lost);
  lost = std::move(replaced);  // with those whose epoch could not be ended before
  for (const auto& [name, worker] : workers_.all()) {
    if (worker.lost && !worker.run_id.empty()) lost.push_back(worker);
  }
  for (const WorkerEntry& worker : lost) EndEpochOfLost(worker, lost);
  workers_.Forget(now, options_.forget_lost_workers);
}

bool Coordinator::LeftAsTold(const WorkerEntry& worker) {
  if (!worker.last.draining()) return false;
  const auto it = runs_.find(worker.run_id);
  if (it == runs_.end() || !it->second.epoch.has_value() ||
      it->second.epoch->record.epoch != worker.epoch)
    return true;
  const EpochEntry& epoch = *it->second.epoch;
  const int rank = epoch.RankOf(worker.name);
  return epoch.done.contains(rank) && !epoch.Owes(rank, it->second.committed_step());
}

void Coordinator::RecordLosses(const std::vector<WorkerEntry>& workers) {
  if (workers.empty()) return;
  WriteBatch batch;
  for (const WorkerEntry& worker : workers)
    batch.events.push_back(NewEvent(
        RunOf(worker), worker.left ? kEventWorkerLeft : kEventWorkerLost, CauseOf(worker)));
  Write(&batch).IgnoreError();  // events only; the loss itself is a fact without them
  for (const v1::Event& event : batch.events) {
    if (const auto it = runs_.find(event.run_id()); it != runs_.end()) Touch(&it->second);
  }
}

std::string Coordinator::RunOf(const WorkerEntry& worker) {
  if (!worker.run_id.empty() || !worker.left) return worker.run_id;
  const RunEntry* newest = nullptr;
  for (const auto& [id, run] : runs_) {
    const bool member = absl::c_any_of(run.last_epoch.members, [&](const MemberRecord& m) {
      return m.worker == worker.name && m.incarnation == worker.incarnation;
    });
    if (!member || IsFinal(run.record.state)) continue;
    if (newest == nullptr || newest->ended_at < run.ended_at) newest = &run;
  }
  return newest == nullptr ? "" : newest->record.run_id;
}

void Coordinator::EndEpochOfLost(const WorkerEntry& worker, const std::vector<WorkerEntry>& lost) {
  const auto it = runs_.find(worker.run_id);
  if (it == runs_.end()) return;
  RunEntry& run = it->second;
  const RunTurn turn = TurnOf(&run);
  if (!run.epoch.has_value() || run.epoch->record.epoch != worker.epoch) return;
  EpochEnd end;
  end.cause = CauseOf(worker, lost);
  end.progress = run.epoch->progress;
  const int rank = run.epoch->RankOf(worker.name);
  end.rank = rank;
  // Who waits for its share of a checkpoint would wait for ever, with nothing left to do but that.
  if (run.epoch->done.contains(rank) && !run.epoch->Owes(rank, run.committed_step())) {
    // It had nothing left to do. The epoch is as good as ended when the others have left too.
    run.epoch->left.insert(rank);
    if (!run.epoch->all_left()) return;
    end = {.clean = true};
  }
  run.lost_member = !end.clean;
  EndEpoch(&run, end);
}

void Coordinator::CheckEpochs() {
  for (auto& [id, run] : runs_) {
    if (run.epoch.has_value()) {
      EpochEntry& epoch = *run.epoch;
      for (size_t i = 0; i < epoch.record.members.size(); ++i) {
        const int rank = static_cast<int>(i);
        const std::string& name = epoch.record.members[i].worker;
        const WorkerEntry* worker = workers_.Find(name);
        if (worker != nullptr && worker->run_id == id && worker->epoch == epoch.record.epoch)
          continue;
        if (epoch.done.contains(rank)) {  // it may have joined another before a restart
          epoch.left.insert(rank);
        } else if (!epoch.complaint.has_value()) {
          // Its loss could not be stored before another process of its name joined another epoch,
          // and after a restart nobody else knows of it.
          epoch.complaint = Complaint{
              rank, absl::StrCat(NamedWorker(name), " is another process now, or in another epoch"),
              false, clock_->Monotonic()};
        }
      }
      if (!epoch.all_left()) {
        TellToYield(&run);
        LookForStraggler(&run);
      }
    }
    // Its turn may last as long as a write: it is not waited for where there is nothing to end.
    const bool may_end = run.epoch.has_value()
                             ? run.epoch->all_left() || run.epoch->complaint.has_value()
                             : MayBeTrained(run);
    if (!may_end) continue;
    const RunTurn turn = TurnOf(&run);
    CheckEpoch(&run);
  }
}

void Coordinator::CheckEpoch(RunEntry* run) {
  if (!run->epoch.has_value()) return FinishIfTrained(run);
  if (run->epoch->all_left()) return EndEpoch(run, {.clean = true});
  if (!run->epoch->complaint.has_value()) return;
  const Complaint complaint = *run->epoch->complaint;
  if (complaint.end.has_value()) return EndEpoch(run, *complaint.end);
  // A member may be about to be lost: then that is the cause.
  bool detached = false, awaited = false;
  for (const MemberRecord& member : run->epoch->record.members) {
    const WorkerEntry* worker = workers_.Find(member.worker);
    detached = detached || worker == nullptr || worker->session == 0;
    awaited = awaited || (worker != nullptr && worker->awaited);
  }
  const absl::Duration waited = clock_->Monotonic() - complaint.at;
  const bool certain = complaint.permanent || complaint.unreadable;
  if (!certain && (awaited || waited < options_.liveness.blame_window)) return;
  if (!certain && detached && waited < options_.liveness.heartbeat_timeout) return;
  run->lost_member = false;
  EndEpoch(run, {.permanent = complaint.permanent,
                 .progress = run->epoch->progress || complaint.unreadable,
                 .cause = complaint.text,
                 .rank = complaint.rank});
  // Why it waits then says the same.
  if (complaint.unreadable && !run->epoch.has_value()) run->cause.clear();
}

// The last checkpoint may be recorded after the epoch was lost, or be adopted after a restart.
void Coordinator::FinishIfTrained(RunEntry* run) {
  if (!MayBeTrained(*run)) return;
  const RunVerdict verdict = DecideAfterEpoch(run->record, {.clean = true}, run->committed_step(),
                                              run->exports(), RetryOptionsOf(run->spec));
  RunRecord next = run->record;
  next.state = verdict.state;
  next.reason = verdict.reason;
  next.step = run->committed_step();
  ChangeState(run, next, absl::StrCat("run_", StateName(next.state)))
      .status()
      .IgnoreError();  // the next tick tries again
}

void Coordinator::EndEpoch(RunEntry* run, const EpochEnd& end) {
  const absl::Status stored = TryEndEpoch(run, end, run->record, {});
  if (stored.ok()) return;
  LogError("epoch_end_not_stored",
           {{"run", run->record.run_id}, {"error", std::string(stored.message())}});
  // Nothing has changed; the next tick finds the same facts and tries again.
  if (!end.clean && !run->epoch->complaint.has_value()) {
    run->epoch->complaint = Complaint{.rank = end.rank,
                                      .text = end.cause,
                                      .permanent = end.permanent,
                                      .at = clock_->Monotonic(),
                                      .end = end};
  }
}

absl::Status Coordinator::TryEndEpoch(RunEntry* run, const EpochEnd& end, const RunRecord& wished,
                                      const IdempotencyRecord& request) {
  EpochRecord ended = run->epoch->record;
  ended.live = false;
  ended.ended_ms = NowMs();
  ended.end_reason = end.clean ? run->epoch->done_reason : end.cause;
  std::optional<v1::Failure> failure;
  ended.end_step = run->record.step;
  const bool failed = !end.clean && !end.killed;  // a kill is somebody's wish
  if (failed) {
    failure = FailureOf(*run, end);
    ended.failure = failure->SerializeAsString();
  }
  const RunVerdict verdict = DecideAfterEpoch(wished, end, run->committed_step(), run->exports(),
                                              RetryOptionsOf(run->spec));
  RunRecord next = wished;
  next.state = verdict.state;
  next.reason = verdict.reason;
  next.failures = verdict.failures;
  next.epochs_lost += failed;
  next.intent = Intent::kRun;
  if (verdict.state != v1::RUN_STATE_RUNNING) {
    next.step = run->committed_step();
  } else if (end.clean) {
    next.step = run->epoch->planned_end();
    next.reason = absl::StrCat("stopped at step ", next.step, ": ", run->epoch->done_reason);
  }
  if (IsFinal(next.state)) next.finished_ms = NowMs();
  WriteBatch batch;
  batch.runs = {next};
  if (!request.key.empty()) batch.keys = {request};
  batch.epochs = {ended};
  batch.forget_epochs = {{ended.run_id, ended.epoch}};
  const bool stopped = end.clean && run->epoch->planned_end() < next.total_steps;
  batch.events = {
      stopped ? NewEvent(ended.run_id, kEventEpochStopped, StoppedAt(*run, ended, next))
              : NewEvent(ended.run_id, end.clean ? kEventEpochCompleted : kEventEpochLost,
                         absl::StrCat("epoch ", ended.epoch, " ended: ", ended.end_reason))};
  AddReport(*run, next, nullptr, &batch);
  if (next.state != v1::RUN_STATE_RUNNING) {
    batch.events.push_back(
        NewEvent(ended.run_id, absl::StrCat("run_", StateName(next.state)), next.reason));
  }
  RETURN_IF_ERROR(Write(&batch));
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
  if (failure.has_value()) run->last_failure = std::move(failure);
  run->record = std::move(next);
  run->last_epoch = std::move(ended);
  run->last_end_clean = run->stopped_to_reform = end.clean;
  run->ended_at = now;
  run->cause = end.clean ? "" : run->last_epoch.end_reason;
  run->epoch.reset();
  run->wait_cause = WaitCause::kUndecided;
  run->resume.reset();
  run->not_before = now + verdict.retry_after;
  Touch(run);
  kicked_ = true;
  wake_.NotifyAll();
  return absl::OkStatus();
}

std::string Coordinator::StoppedAt(const RunEntry& run, const EpochRecord& ended,
                                   const RunRecord& next) {
  int64_t staying = 0;
  for (const MemberRecord& member : ended.members) {
    const WorkerEntry* worker = workers_.Find(member.worker);
    staying += worker != nullptr && worker->incarnation == member.incarnation && !worker->lost &&
               !worker->last.draining();
  }
  const bool leaves = staying < static_cast<int64_t>(ended.members.size());
  std::optional<int64_t> others;
  if (leaves && next.state == v1::RUN_STATE_RUNNING) others = staying;
  return StoppedWords(ended.epoch, run.epoch->planned_end(), ended.end_reason, others,
                      run.spec.min_workers);
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
  if (run.epoch->from_memory) {
    a->set_from_memory(true);
    a->set_state_rank(run.epoch->state_rank);
    a->set_state_epoch(run.epoch->state_epoch);
  }
  a->set_mixed_devices(run.mixed());
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

bool Coordinator::MayForm(const RunEntry& run, const Queue& queue, const Placement& placement) {
  if (!WaitsForWorkers(run) || run.committing || run.retaining) return false;
  // Whose place was taken since is a member of an epoch that is to end first: the store must not
  // have two with members of one name.
  if (!replaced_.empty()) return false;
  if (clock_->Monotonic() < run.not_before) return false;
  return absl::c_all_of(placement.members, [&](int m) REQUIRES(mu_) {
    const WorkerView& view = queue.workers[static_cast<size_t>(m)];
    const WorkerEntry* worker = workers_.Find(view.name);
    // Another process of that name may have another device and less memory.
    return worker != nullptr && WorkerRegistry::StandingOf(*worker) == Standing::kIdle &&
           worker->incarnation == queue.incarnations[static_cast<size_t>(m)] &&
           worker->info.device() == view.device &&
           worker->info.memory_bytes() == view.memory_bytes &&
           !worker->cannot_read.contains(run.record.run_id);
  });
}

absl::Status Coordinator::FormEpoch(RunEntry* run, const std::vector<std::string>& names,
                                    const std::string& reason) {
  const ResumeDecision resume = *run->resume;
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
  epoch.from_memory = !resume.holders.empty();
  epoch.state_epoch = resume.state_epoch;
  for (size_t i = names.size(); epoch.from_memory && i-- > 0;) {  // the lowest of their ranks
    if (absl::c_linear_search(resume.holders, names[i])) epoch.state_rank = static_cast<int>(i);
  }
  if (!checkpoints.empty() && !epoch.from_memory)
    e.manifest_sha256 = checkpoints.back().manifest_sha256();
  RunRecord next = run->record;
  next.state = v1::RUN_STATE_RUNNING;
  next.epoch = e.epoch;
  next.step = resume.step;
  next.reason = absl::StrCat(
      "epoch ", e.epoch, " ", reason,
      resume.step < next.total_steps ? " trains " : " writes the last checkpoint ", resume.reason);
  if (next.started_ms == 0) next.started_ms = e.started_ms;
  batch.runs = {next};
  EpochRecord before = run->last_epoch;
  // It was not reported in full: a member's memory or a checkpoint has more of what it trained.
  const bool trained_more = before.epoch > 0 && before.end_step < resume.step;
  if (trained_more) before.end_step = resume.step;
  if (trained_more || before.end_reason == kEndUnconfirmed) batch.epochs = {before};
  batch.epochs.push_back(e);
  batch.superseded = {{e.run_id, resume.step}};
  batch.events = {NewEvent(e.run_id, kEventEpochFormed, next.reason)};
  if (const int64_t reached = before.end_step; reached > resume.step) {
    batch.events.push_back(
        NewEvent(e.run_id, kEventStepsRepeated,
                 absl::StrCat("trains ", reached - resume.step, " steps again (", resume.step + 1,
                              " to ", reached, "): ", RepeatedBecause(*run))));
  }
  const std::vector<std::string> losers = TakeFromOthers(*run, names, &batch);
  if (absl::Status s = Write(&batch); !s.ok()) {
    if (!absl::IsUnavailable(s)) return s;
    // It may be stored as live. Nobody has heard of it: it ends, and its number is not used again.
    e.live = false;
    e.ended_ms = NowMs();
    e.end_reason = kEndUnconfirmed;
    run->record.epoch = e.epoch;
    run->last_epoch = e;
    run->last_end_clean = run->stopped_to_reform = false;
    WriteBatch end;
    end.runs = {run->record};
    end.epochs = {e};
    end.events = {NewEvent(e.run_id, kEventEpochLost,
                           absl::StrCat("epoch ", e.epoch, " ended: ", e.end_reason))};
    Write(&end).IgnoreError();  // else it ends with the forming of the next
    return s;
  }
  ++stats_.epochs_by_reason[e.epoch == 1         ? "start"
                            : run->cause.empty() ? "resume"
                            : run->lost_member   ? "loss"
                                                 : "failure"];
  for (const std::string& id : losers) {
    if (const auto it = runs_.find(id); it != runs_.end()) Touch(&it->second);
  }
  epoch.formed_at = clock_->Monotonic();
  run->last_epoch = std::move(before);
  run->record = std::move(next);
  run->checkpoints = std::move(checkpoints);
  run->epoch = std::move(epoch);
  run->last_end_clean = run->stopped_to_reform = false;
  run->cause.clear();
  run->origin_epoch = run->epoch->state_epoch;
  run->oldest_origin = 0;
  run->origin_step = run->epoch->from_memory ? resume.step : 0;
  run->uncommitted_seconds.erase(run->uncommitted_seconds.upper_bound(resume.step),
                                 run->uncommitted_seconds.end());
  run->RewindTo(resume.step);
  run->resume.reset();
  std::string gone;
  for (size_t i = 0; i < names.size(); ++i) {
    WorkerEntry* worker = workers_.Find(names[i]);
    if (worker == nullptr || worker->incarnation != run->epoch->record.members[i].incarnation) {
      gone = names[i];
      continue;
    }
    workers_.Assign(worker, run->record.run_id, run->record.epoch, clock_->Monotonic());
    if (worker->sink == nullptr) continue;
    worker->sink->Push(AssignmentFor(*run, static_cast<int>(i)));
    worker->told_at = clock_->Monotonic();
  }
  Touch(run);
  if (!gone.empty()) {  // who is replaced from now on ends the epoch by itself
    run->lost_member = true;
    EndEpoch(run, {.progress = true,
                   .cause = absl::StrCat(NamedWorker(gone),
                                         " lost: a new process took its place while the epoch was "
                                         "formed"),
                   .rank = run->epoch->RankOf(gone)});
  }
  return absl::OkStatus();
}

StopDecision Coordinator::StopOf(const RunEntry& run) {
  StopInputs in;
  in.intent = run.record.intent;
  in.members = static_cast<int64_t>(run.epoch->record.members.size());
  in.reshape = run.epoch->reshape;
  for (const MemberRecord& member : run.epoch->record.members) {
    const WorkerEntry* worker = workers_.Find(member.worker);
    if (worker != nullptr && worker->last.draining()) in.draining.push_back(member.worker);
  }
  return DecideStop(in);
}

void Coordinator::TellToYield(RunEntry* run) {
  EpochEntry& epoch = *run->epoch;
  const StopDecision stop = StopOf(*run);
  if (stop.reason.empty() || epoch.plans.empty() || !epoch.done.empty()) {
    epoch.yield_told_at.reset();
    return;
  }
  // Said again: who was told may have been replaced, or have been at the end of a plan.
  const absl::Duration now = clock_->Monotonic();
  if (epoch.yield_told_at.has_value() &&
      now - *epoch.yield_told_at < options_.liveness.heartbeat_timeout)
    return;
  v1::Command command;
  command.mutable_yield()->set_run_id(epoch.record.run_id);
  command.mutable_yield()->set_epoch(epoch.record.epoch);
  command.mutable_yield()->set_reason(stop.reason);
  for (const MemberRecord& member : epoch.record.members) {
    const WorkerEntry* worker = workers_.Find(member.worker);
    if (worker == nullptr || worker->sink == nullptr || !worker->joined) continue;
    worker->sink->Push(command);  // one is enough
    epoch.yield_told_at = now;
    return;
  }
}

void Coordinator::LookForStraggler(RunEntry* run) {
  EpochEntry& epoch = *run->epoch;
  if (epoch.plans.empty()) return;
  const v1::Plan& plan = epoch.plans.back();
  std::vector<RankPace> ranks;
  for (const MemberRecord& member : epoch.record.members) {
    const WorkerEntry* worker = workers_.Find(member.worker);
    const int rank = static_cast<int>(ranks.size());
    RankPace& pace = ranks.emplace_back();
    pace.worker = member.worker;
    if (worker == nullptr || !worker->joined || rank >= plan.shares_size()) continue;
    pace.seconds = worker->last.seconds_per_sequence() * plan.shares(rank).count();
  }
  const std::string named = epoch.straggler.has_value() ? epoch.straggler->worker : "";
  std::optional<Straggler> found = FindStraggler(ranks, named, options_.straggler);
  const std::string slow = found.has_value() ? found->worker : "";
  if (slow == named) {
    epoch.slow_since.reset();
    return;
  }
  const absl::Duration now = clock_->Monotonic();
  if (!epoch.slow_since.has_value()) epoch.slow_since = now;
  if (now - *epoch.slow_since < options_.straggler.after) return;
  const uint64_t number = epoch.record.epoch;
  const RunTurn turn = TurnOf(run);
  if (!run->epoch.has_value() || run->epoch->record.epoch != number) return;
  WriteBatch batch;
  batch.events = {NewEvent(run->record.run_id, kEventStraggler,
                           found.has_value() ? StragglerWords(*found)
                                             : absl::StrCat(named,
                                                            " computes as fast as the others "
                                                            "again"))};
  if (!Write(&batch).ok()) return;  // the next tick tries again
  epoch.straggler = std::move(found);
  epoch.slow_since.reset();
  Touch(run);
}

void Coordinator::SetWaiting(RunEntry* run, const Wait& wait) {
  if (std::string from = GoesOnFrom(*run, wait.cause); from != run->goes_on_from) {
    const bool news = !SaysTheSame(from, run->goes_on_from);
    run->goes_on_from = std::move(from);
    if (news) Touch(run);
  }
  const bool lost = run->lost_member && run->last_failure.has_value();
  const std::string full = WaitText(wait, run->cause, lost ? run->last_failure->worker() : "");
  if (run->record.reason == full && run->wait_cause == wait.cause && run->wait_stored) return;
  const bool same = SaysTheSame(run->record.reason, full);
  // It was told before a restart.
  if (run->wait_cause == WaitCause::kUndecided && same && run->spec_error.empty()) {
    run->wait_cause = wait.cause;
    run->wait_stored = true;
    run->record.reason = full;
    return Touch(run);
  }
  const bool news = run->wait_cause != wait.cause || !same;
  run->record.reason = full;
  run->wait_cause = wait.cause;
  if (!news && run->wait_stored) return;
  if (news) Touch(run);
  WriteBatch batch;
  batch.runs = {run->record};
  batch.runs[0].reason = WithoutAges(full);  // they would become untrue
  batch.events = {NewEvent(run->record.run_id, kEventRunWaiting, batch.runs[0].reason)};
  const absl::Status stored = Write(&batch);
  if (!stored.ok() && run->wait_stored) {  // the next tick tries again
    LogWarning("reason_not_stored",
               {{"run", run->record.run_id}, {"error", std::string(stored.message())}});
  }
  run->wait_stored = stored.ok();
}

Coordinator::Queue Coordinator::Decide() {
  const absl::Duration now = clock_->Monotonic();
  std::map<std::string, std::string> names;
  Queue out;
  out.shares.weights = options_.project_weights;
  for (const auto& [name, worker] : workers_.all()) {
    for (const auto& [run_id, why] : worker.cannot_read) out.cannot_read[run_id][name] = why;
  }
  for (auto& [id, run] : runs_) {
    names[id] = run.record.name;
    if (run.epoch.has_value())
      out.shares.used[run.spec.project] += static_cast<int64_t>(run.epoch->record.members.size());
    if (!WaitsForWorkers(run)) continue;
    WaitingRun w{id, run.record.name, run.record.priority, run.record.created_ms, {}, {}};
    w.project = run.spec.project;
    w.needs = NeedsOfRun(&run);
    if (const std::optional<HeldChoice> held = HeldOf(run)) w.needs.holders = held->holders;
    if (run.committing)
      w.blocked = {WaitCause::kCommitting, "a checkpoint of its last epoch is being committed"};
    if (run.retaining)
      w.blocked = {WaitCause::kRetaining, "its older checkpoints are being removed"};
    if (Wait others = Dependencies(run); others.waits()) w.blocked = std::move(others);
    if (!run.spec_error.empty()) w.blocked = {run.error_cause, run.spec_error};
    if (now < run.not_before && run.obstacle.waits()) {
      w.blocked = run.obstacle;
    } else if (now < run.not_before) {
      w.blocked = {WaitCause::kRetryDelay,
                   TriesAgain(run.not_before - now, run.record.failures, run.spec.retry_budget)};
    }
    w.needs.settled = run.stopped_to_reform;
    // Nobody has paused it since, nor was it told to stop. Those that wait had no workers yet.
    w.interrupted = run.record.state == v1::RUN_STATE_RUNNING && !run.last_end_clean;
    if (const auto it = out.cannot_read.find(id); it != out.cannot_read.end())
      w.needs.cannot_read = it->second;
    w.keeps_holders = run.stopped_to_reform && !w.needs.holders.empty() &&
                      now - run.ended_at < options_.world.leave;
    out.waiting.push_back(std::move(w));
  }
  out.workers = workers_.Views(now, names);
  for (const auto& [name, worker] : workers_.all()) out.incarnations.push_back(worker.incarnation);
  out.placements = Schedule(out.waiting, out.workers, options_.world, out.shares);
  return out;
}

ReshapeDecision Coordinator::MarkReshapes(const Queue& queue) {
  const absl::Duration now = clock_->Monotonic();
  std::vector<TrainingRun> training;
  for (auto& [id, run] : runs_) {
    if (!run.epoch.has_value()) continue;
    TrainingRun& t = training.emplace_back();
    t.run_id = id;
    t.name = run.record.name;
    t.priority = run.record.priority;
    t.created_ms = run.record.created_ms;
    t.project = run.spec.project;
    t.preemptible = run.spec.preemptible;
    t.needs = NeedsOfRun(&run);
    if (const auto it = queue.cannot_read.find(id); it != queue.cannot_read.end())
      t.needs.cannot_read = it->second;
    t.ending = run.record.intent != Intent::kRun;
    t.age = now - run.epoch->formed_at;
    t.left = absl::Seconds(SecondsUntil(run, run.record.total_steps));
    for (const MemberRecord& member : run.epoch->record.members) {
      const auto at = absl::c_lower_bound(
          queue.workers, member.worker,
          [](const WorkerView& w, const std::string& name) { return w.name < name; });
      if (at != queue.workers.end() && at->name == member.worker)
        t.members.push_back(static_cast<int>(at - queue.workers.begin()));
    }
    absl::c_sort(t.members);
  }
  ReshapeDecision decision = DecideReshapes(queue.waiting, queue.placements, training,
                                            queue.workers, options_.reshape, queue.shares);
  for (const TrainingRun& t : training) {
    EpochEntry& epoch = *runs_.at(t.run_id).epoch;
    const auto it = decision.reshapes.find(t.run_id);
    const Reshape wanted = it == decision.reshapes.end() ? Reshape() : it->second;
    if (epoch.reshape == wanted) continue;
    epoch.reshape = wanted;
    kicked_ = true;
    wake_.NotifyAll();
  }
  return decision;
}

void Coordinator::Place() {
  std::vector<std::string> unverified;
  const auto names_of = [](const Queue& queue, const Placement& p) {
    std::vector<std::string> members;
    for (const int m : p.members) members.push_back(queue.workers[static_cast<size_t>(m)].name);
    return members;
  };
  {
    MutexLock lock(&mu_);
    if (stopping_) return;
    const bool waits =
        absl::c_any_of(runs_, [](const auto& entry) { return WaitsForWorkers(entry.second); });
    const Queue queue = waits ? Decide() : Queue();
    for (const Placement& p : queue.placements) {
      RunEntry& run = runs_.at(p.run_id);
      const RunTurn turn = TurnOf(&run);
      if (p.members.empty() || run.resume.has_value() || !WaitsForWorkers(run)) continue;
      if (FromMemory(&run, names_of(queue, p)) || WaitsForHolders(&run)) continue;
      if (!verifying_ && !run.checkpoints.empty()) {
        const v1::Checkpoint& newest = run.checkpoints.back();
        SetWaiting(&run, {WaitCause::kVerifying,
                          absl::StrCat("reads its checkpoint of step ", newest.step(), " (",
                                       Bytes(newest.bytes()), ") before it goes on from there")});
      }
      unverified.push_back(p.run_id);
    }
  }
  StartVerification(std::move(unverified));
  MutexLock lock(&mu_);
  const Queue queue = Decide();
  const ReshapeDecision reshape = MarkReshapes(queue);
  for (const Placement& p : queue.placements) {
    RunEntry& run = runs_.at(p.run_id);
    const RunTurn turn = TurnOf(&run);
    if (!WaitsForWorkers(run)) continue;
    if (p.members.empty()) {
      Wait wait = p.run_id == reshape.helped ? reshape.wait : Wait{p.cause, p.reason};
      if (const auto kept = reshape.kept.find(p.run_id); kept != reshape.kept.end())
        absl::StrAppend(&wait.sentence, "; ", kept->second);
      SetWaiting(&run, wait);
      continue;
    }
    const std::vector<std::string> members = names_of(queue, p);
    if (!MayForm(run, queue, p)) {
      kicked_ = true;  // it is decided anew
      continue;
    }
    // Memory may have come since a checkpoint was read, or have gone since it was chosen.
    if (!FromMemory(&run, members)) {
      if (run.resume.has_value() && !run.resume->holders.empty()) run.resume.reset();
      if (WaitsForHolders(&run)) continue;
    }
    if (!run.resume.has_value()) continue;  // placed only now: the next tick verifies
    if (absl::Status s = FormEpoch(&run, members, p.reason); !s.ok()) {
      SetWaiting(&run, {WaitCause::kStoreFailing,
                        absl::StrCat("its epoch cannot be stored: ", std::string(s.message()))});
      LogError("epoch_not_stored", {{"run", p.run_id}, {"error", std::string(s.message())}});
    }
  }
}

}  // namespace tritter
