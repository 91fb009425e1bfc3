// Start, recovery, threads and what every part uses.
#include "coordinator/coordinator.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "coordinator/checkpoint_files.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/errors.h"
#include "coordinator/stored_run.h"
#include "model/folder_checkpoint_store.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {
constexpr absl::Duration kUnhealthyFor = absl::Seconds(30);
constexpr int64_t kMostUncommitted = 100000;  // steps read at the start, of each run
constexpr int64_t kShownSteps = 20;           // of the newest the pace is shown
}  // namespace

Coordinator::Coordinator(const CoordinatorDependencies& d, CoordinatorOptions options)
    : store_(d.store),
      env_(d.env),
      clock_(d.clock),
      catalog_(d.catalog),
      exporter_(d.exporter),
      load_model_(d.load_model),
      run_id_(d.run_id ? d.run_id : [] { return RandomId("r"); }),
      options_(std::move(options)),
      ticks_(options_.liveness.own_pause),
      pulse_(d.pulse),
      writes_(d.store) {
  if (pulse_ == nullptr && options_.background)
    heart_ = std::make_unique<PulseThread>(clock_, options_.liveness.own_pause);
  if (pulse_ == nullptr) pulse_ = heart_ != nullptr ? heart_.get() : &ticks_;
}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(
    const CoordinatorDependencies& dependencies, CoordinatorOptions options) {
  std::unique_ptr<Coordinator> out(new Coordinator(dependencies, std::move(options)));
  RETURN_IF_ERROR(out->Load());
  if (out->options_.background)
    out->background_ = std::thread([c = out.get()] { c->RunBackground(); });
  return out;
}

Coordinator::~Coordinator() {
  Stop();
  if (background_.joinable()) background_.join();
  if (verify_thread_.joinable()) verify_thread_.join();
  if (retention_thread_.joinable()) retention_thread_.join();
  if (export_thread_.joinable()) export_thread_.join();
  if (deploy_thread_.joinable()) deploy_thread_.join();
}

void Coordinator::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  {
    MutexLock health(&health_mu_);
    health_ = absl::UnavailableError("the coordinator is stopping");
    health_until_ = absl::InfiniteDuration();
  }
  for (auto& [name, worker] : workers_.all()) {
    if (worker.sink != nullptr)
      worker.sink->Close(absl::UnavailableError("the coordinator is stopping; reconnect"));
  }
  changed_.NotifyAll();
  wake_.NotifyAll();
}

absl::Status Coordinator::Load() {
  MutexLock lock(&mu_);
  last_tick_ = clock_->Monotonic();
  ticks_.Beat(last_tick_, last_tick_);
  ASSIGN_OR_RETURN(coordinator_id_, store_->StoreId());
  ASSIGN_OR_RETURN(const int64_t last_event, store_->LastEventId());
  next_event_id_ = last_event + 1;
  ASSIGN_OR_RETURN(std::vector<RunRecord> runs, store_->Runs());
  for (RunRecord& record : runs) {
    ASSIGN_OR_RETURN(RunEntry run, ReadRun(std::move(record)));
    const std::string id = run.record.run_id;
    runs_[id] = std::move(run);
  }
  ASSIGN_OR_RETURN(const std::vector<EpochRecord> records, store_->LiveEpochs());
  std::vector<StoredEpoch> epochs;
  for (const EpochRecord& record : records) {
    if (!runs_.contains(record.run_id)) continue;
    ASSIGN_OR_RETURN(epochs.emplace_back(), ReadEpoch(record));
  }
  // A worker that is done in one may be a member of another already, as the process it is now: that
  // one is awaited.
  for (const bool done : {true, false}) {
    for (const StoredEpoch& stored : epochs) {
      const EpochRecord& e = stored.record;
      if (e.end_reason.empty() == done || !stored.damage.empty()) continue;
      for (const MemberRecord& member : e.members)
        workers_.Await(member, e.run_id, e.epoch, clock_->Monotonic());
    }
  }
  for (StoredEpoch& stored : epochs) {
    RunEntry& run = runs_.at(stored.record.run_id);
    EpochEntry epoch;
    EpochRecord& record = stored.record;
    epoch.plans = std::move(stored.plans);
    // Who was told of it, and who holds the state, is not known any more.
    const bool not_begun = record.start_step > 0 && record.manifest_sha256.empty() &&
                           epoch.plans.empty() && record.end_reason.empty();
    epoch.done_reason = record.end_reason;
    for (size_t rank = 0; !epoch.done_reason.empty() && rank < record.members.size(); ++rank)
      epoch.done.insert(static_cast<int>(rank));
    for (const ShareRecord& s : stored.shares) {
      if (s.step > run.committed_step()) epoch.shares[s.step][s.rank] = s.share;
    }
    if (!run.recent_metrics.empty())
      epoch.seconds_per_step = run.recent_metrics.back().second.step_seconds();
    epoch.progress =
        (run.record.step > record.start_step && run.record.step >= run.record.best_step) ||
        (!run.checkpoints.empty() && run.checkpoints.back().epoch() == record.epoch);
    epoch.formed_at = clock_->Monotonic();
    epoch.record = std::move(record);
    run.epoch = std::move(epoch);
    const std::string& id = run.record.run_id;
    LogInfo("epoch_found", {{"run", id}, {"epoch", run.epoch->record.epoch}});
    const RunTurn turn = TurnOf(&run);
    // Without its configuration it can get no plan. It ends, and nobody is blamed for that.
    if (!run.spec_error.empty()) {
      EndEpoch(&run, {.progress = true, .cause = run.spec_error});
    } else if (!stored.damage.empty()) {  // its rows go with it
      EndEpoch(&run, {.progress = true, .cause = stored.damage});
    } else if (not_begun) {
      EndEpoch(&run, {.progress = true,
                      .cause = "the coordinator restarted before the epoch, which was to begin "
                               "from memory, had its first plan"});
    }
  }
  for (auto& [id, run] : runs_) {
    if (IsFinal(run.record.state)) continue;
    run.ended_at = clock_->Monotonic();
    // Of one that is not known as it is stored no file is touched.
    if (run.error_cause == WaitCause::kRecordUnreadable) continue;
    if (absl::Status s = RecoverFolders(&run); !s.ok()) {
      // Tried again before its next epoch. The other runs need not wait for that.
      LogWarning("checkpoint_folder_not_tidied",
                 {{"run", id}, {"error", std::string(s.message())}});
    }
    RETURN_IF_ERROR(RecallOrigin(&run));
  }
  return absl::OkStatus();
}

absl::Status Coordinator::RecallOrigin(RunEntry* run) {
  constexpr int64_t kMostEpochs = 1000;
  const EpochRecord& newest = run->epoch.has_value() ? run->epoch->record : run->last_epoch;
  if (newest.epoch != run->record.epoch || newest.start_step == 0 ||
      !newest.manifest_sha256.empty())
    return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<EpochRecord> epochs,
                   Apart([&] { return store_->Epochs(run->record.run_id, kMostEpochs); }));
  // Whose state that was is not stored: of the epoch before it, or, where that began with it too,
  // of one before that.
  run->origin_step = newest.start_step;
  run->origin_epoch = run->oldest_origin = newest.epoch - 1;
  const auto began_so = [&](const EpochRecord& e) {
    return e.epoch == run->oldest_origin && e.start_step == run->origin_step &&
           e.manifest_sha256.empty();
  };
  while (absl::c_any_of(epochs, began_so)) --run->oldest_origin;
  return absl::OkStatus();
}

absl::StatusOr<Coordinator::StoredEpoch> Coordinator::ReadEpoch(const EpochRecord& record) {
  StoredEpoch out{record, {}, {}, ""};
  absl::StatusOr<std::vector<v1::Plan>> plans = store_->Plans(record.run_id, record.epoch);
  absl::StatusOr<std::vector<ShareRecord>> shares = store_->Shares(record.run_id, record.epoch);
  absl::Status sound = plans.status();
  sound.Update(shares.status());
  if (sound.ok()) {
    *plans = WithoutCutAway(*std::move(plans));
    sound = CheckStoredEpoch(record, *plans, *shares);
  }
  if (sound.ok()) {
    out.plans = *std::move(plans);
    out.shares = *std::move(shares);
    return out;
  }
  if (!absl::IsDataLoss(sound)) return sound;
  out.damage =
      absl::StrCat("what the store has of it cannot be used: ", std::string(sound.message()));
  LogError("epoch_unreadable", {{"run", record.run_id}, {"error", out.damage}});
  return out;
}

absl::StatusOr<RunEntry> Coordinator::ReadRun(RunRecord record) {
  RunEntry run;
  absl::Status damage = CheckStoredRun(record);
  if (!damage.ok()) MakeSound(&record);
  // Of `rows` into `out`; those that cannot be read are damage of this run, and of no other.
  const auto take = [&](auto rows, auto* out) -> absl::Status {
    if (!rows.ok() && !absl::IsDataLoss(rows.status())) return rows.status();
    if (rows.ok()) *out = *std::move(rows);
    damage.Update(rows.status());
    return absl::OkStatus();
  };
  absl::StatusOr<RunSpec> spec = ParseRunSpec(record.spec_yaml, record.run_id, "/");
  if (spec.ok()) {
    run.spec = *std::move(spec);
    run.parameters = ParameterCount(run.spec.model);
    if (run.spec.steps != record.total_steps) {
      damage.Update(absl::DataLossError(
          absl::StrCat("the row runs of ", record.run_id, " is damaged: its total_steps is ",
                       record.total_steps, ", its configuration has ", run.spec.steps)));
    }
  }
  RETURN_IF_ERROR(take(store_->Checkpoints(record.run_id), &run.checkpoints));
  RETURN_IF_ERROR(take(store_->Artifacts(record.run_id), &run.artifacts));
  if (damage.ok()) damage = CheckStoredCheckpoints(record, run.checkpoints);
  if (!damage.ok()) {
    // What it was is not known: nothing of it is touched.
    run.checkpoints.clear();
    run.error_cause = WaitCause::kRecordUnreadable;
    run.spec_error =
        absl::StrCat("what the store has of it cannot be used: ", std::string(damage.message()),
                     "; restore a backup of the store, or cancel the run");
  } else if (!spec.ok()) {
    // Written by another version. The run is not touched; it waits with this reason.
    run.spec_error = absl::StrCat(
        "its stored configuration cannot be read: ", std::string(spec.status().message()),
        "; start the version of the coordinator that wrote it, or cancel the run");
  }
  if (!run.spec_error.empty() && (!damage.ok() || !IsFinal(record.state))) {
    LogError(damage.ok() ? "run_spec_unreadable" : "run_record_unreadable",
             {{"run", record.run_id}, {"error", run.spec_error}});
    record.reason = run.spec_error;
    if (!NeedsWorkers(record.state)) run.wait_cause = run.error_cause;
  }
  ASSIGN_OR_RETURN(LastEpochs last, store_->Last(record.run_id));
  if (v1::Failure failure; last.failed.has_value() && failure.ParseFromString(last.failed->failure))
    run.last_failure = std::move(failure);
  if (last.ended.has_value()) {
    run.last_epoch = *std::move(last.ended);
    const std::string& reason = run.last_epoch.end_reason;
    run.last_end_clean = run.last_epoch.failure.empty() && reason != kEndUnconfirmed;
    if (!run.last_end_clean) run.cause = reason;
  }
  run.retention_due = NeedsWorkers(record.state);
  run.record = std::move(record);
  if (const absl::Status curves = ReadCurves(&run); absl::IsDataLoss(curves)) {
    LogWarning("curve_unreadable",  // it is shown in part; whoever asks for all of it is told
               {{"run", run.record.run_id}, {"error", std::string(curves.message())}});
  } else if (!curves.ok()) {
    return curves;
  }
  return run;
}

absl::Status Coordinator::ReadCurves(RunEntry* run) {
  const RunRecord& record = run->record;
  const int64_t shown = IsFinal(record.state) ? 1 : kShownSteps;
  const int64_t recent = std::max<int64_t>(1, record.step + 1 - shown);
  ASSIGN_OR_RETURN(const std::vector<v1::StepMetrics> metrics,
                   store_->Metrics(record.run_id, recent, 0, kRecentMetrics));
  for (const v1::StepMetrics& m : metrics) run->Remember(m);
  // The newest of each source are among those of the newest steps that were evaluated.
  const int64_t every = run->spec.evaluate_every;
  const int64_t evaluated =
      every > 0 && every <= record.step / kShownSteps ? record.step - kShownSteps * every : 0;
  ASSIGN_OR_RETURN(const std::vector<v1::EvaluationPoint> points,
                   store_->Evaluations(record.run_id, evaluated, 0, 100 * kRecentMetrics));
  for (const v1::EvaluationPoint& p : points) run->Remember(p);
  run->Shrink();
  if (record.started_ms == 0 || IsFinal(record.state)) return absl::OkStatus();
  // They become productive when the next checkpoint holds them.
  ASSIGN_OR_RETURN(const std::vector<v1::StepMetrics> uncommitted,
                   store_->Metrics(record.run_id, run->committed_step() + 1, 0, kMostUncommitted));
  for (const v1::StepMetrics& m : uncommitted) {
    if (std::isfinite(m.step_seconds())) run->uncommitted_seconds[m.step()] = m.step_seconds();
  }
  return absl::OkStatus();
}

std::unique_ptr<CheckpointStore> Coordinator::CheckpointsOf(const RunEntry& run) const {
  return CheckpointsOfRun(env_, run.record.run_dir);
}

absl::Status Coordinator::RecoverFolders(RunEntry* run) {
  std::set<int64_t> recorded;
  for (const v1::Checkpoint& c : run->checkpoints) recorded.insert(c.step());
  // Of the live epoch, or of one that is formed from memory while the lock is given up.
  const std::string live =
      AttemptName(run->epoch.has_value() ? run->epoch->record.epoch : run->record.epoch + 1);
  const std::unique_ptr<CheckpointStore> store = CheckpointsOf(*run);
  const std::string id = run->record.run_id;
  absl::StatusOr<RecoveredCheckpoints> found =
      Apart([&] { return RecoverCheckpoints(store.get(), id, recorded, live); });
  if (!found.ok()) return found.status();
  for (const std::string& name : found->removed) {
    LogInfo("checkpoint_attempt_removed", {{"run", id}, {"what", name}});
  }
  if (found->adopted.empty()) return absl::OkStatus();
  const RunTurn turn = TurnOf(run);
  WriteBatch batch;
  for (v1::Checkpoint& c : found->adopted) {
    c.set_committed_ms(NowMs());
    batch.checkpoints.push_back({run->record.run_id, c});
    batch.events.push_back(
        NewEvent(run->record.run_id, kEventCheckpointAdopted,
                 absl::StrCat("checkpoint of step ", c.step(),
                              " was complete on disk but not yet recorded: adopted")));
  }
  RETURN_IF_ERROR(Write(&batch));
  ASSIGN_OR_RETURN(run->checkpoints, Apart([&] { return store_->Checkpoints(id); }));
  // They are not committed once more, after later ones.
  if (run->epoch.has_value()) {
    for (const v1::Checkpoint& c : found->adopted) run->epoch->shares.erase(c.step());
  }
  Touch(run);
  return absl::OkStatus();
}

void Coordinator::RunBackground() {
  while (true) {
    {
      MutexLock lock(&mu_);
      if (!kicked_ && !stopping_) wake_.WaitFor(&mu_, options_.tick);
      if (stopping_) return;
      kicked_ = false;
    }
    Tick();
  }
}

void Coordinator::Tick() {
  MutexLock ticking(&tick_mu_);
  {
    MutexLock lock(&mu_);
    if (stopping_) return;
    const absl::Duration now = clock_->Monotonic();
    for (auto& [id, run] : runs_) {
      if (run.active()) run.active_seconds += absl::ToDoubleSeconds(now - last_tick_);
    }
    last_tick_ = now;
    ticks_.Beat(now, now);
    // Not a tick that took long: it may have waited for a slow disk, while heartbeats were taken.
    const std::optional<Absence> away = pulse_->NewestAbsence();
    if (away.has_value() && away->ended > back_since_) {
      LogWarning("coordinator_was_away", {{"seconds", absl::ToDoubleSeconds(away->length)}});
      workers_.Excuse(away->ended);
      back_since_ = away->ended;
    }
    CheckWorkers();
    CheckEpochs();
  }
  RetryCommits();
  StartRetention();
  Place();
  StartJobs();
  StartExports();
  StartDeployments();
  KeepHouse();
}

absl::Status Coordinator::Announce(const std::string& kind, const std::string& message) {
  MutexLock lock(&mu_);
  WriteBatch batch;
  batch.events = {NewEvent("", kind, message)};
  return Write(&batch);
}

v1::Event Coordinator::NewEvent(const std::string& run_id, const std::string& kind,
                                const std::string& message) {
  v1::Event event;  // its id: Write
  event.set_time_ms(NowMs());
  event.set_run_id(run_id);
  event.set_kind(kind);
  event.set_message(message);
  return event;
}

void Coordinator::Touch(RunEntry* run) {
  ++run->version;
  changed_.NotifyAll();
}

std::vector<RunEntry*> Coordinator::RunsNamed(const std::string& name) {
  std::vector<RunEntry*> out;
  for (auto& [id, run] : runs_) {
    if (run.record.name == name && !run.deleted) out.push_back(&run);
  }
  std::sort(out.begin(), out.end(), [](const RunEntry* a, const RunEntry* b) {
    return std::tie(b->record.created_ms, b->record.run_id) <
           std::tie(a->record.created_ms, a->record.run_id);
  });
  return out;
}

absl::StatusOr<RunEntry*> Coordinator::FindRun(const std::string& name) {
  if (const auto it = runs_.find(name); it != runs_.end() && !it->second.deleted)
    return &it->second;
  const std::vector<RunEntry*> all = RunsNamed(name);
  if (all.empty()) return UnknownRunError(name);
  return all.front();
}

absl::StatusOr<RunEntry*> Coordinator::FindRunToChange(const std::string& name) {
  if (const auto it = runs_.find(name); it != runs_.end() && !it->second.deleted)
    return &it->second;
  const std::vector<RunEntry*> all = RunsNamed(name);
  if (all.empty()) return UnknownRunError(name);
  std::vector<Namesake> namesakes;
  std::vector<std::string> ids;
  for (const RunEntry* run : all) {
    const RunRecord& r = run->record;
    namesakes.push_back(
        {r.run_id, r.state, absl::Milliseconds(std::max<int64_t>(0, NowMs() - r.created_ms))});
    ids.push_back(r.run_id);
  }
  if (const std::optional<size_t> one = RunToChange(namesakes); one.has_value()) return all[*one];
  ids.resize(std::min<size_t>(ids.size(), 10));
  return AmbiguousRunError(name, AmbiguityWords(name, namesakes), absl::StrJoin(ids, ", "));
}

std::string Coordinator::FreeName(const std::string& wanted) {
  std::set<std::string> taken = promised_names_;
  for (const auto& [id, run] : runs_) {
    if (!run.deleted) taken.insert(run.record.name);
  }
  return DistinctName(wanted, taken);
}

std::string Coordinator::NameWarning(const RunRecord& run) {
  for (const RunEntry* other : RunsNamed(run.name)) {
    if (other->record.run_id == run.run_id || IsFinal(other->record.state)) continue;
    return absl::StrCat("run ", NamedRun(run.name, other->record.run_id),
                        " has this name too, and is ", StateName(other->record.state),
                        ": name them by their ids; this one is ", run.run_id);
  }
  return "";
}

absl::StatusOr<std::string> Coordinator::RunId(const std::string& name) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunEntry* run, FindRun(name));
  return run->record.run_id;
}

absl::StatusOr<Coordinator::Fenced> Coordinator::Fence(const v1::WorkerIdentity& worker,
                                                       const std::string& run_id, uint64_t epoch) {
  RETURN_IF_ERROR(workers_.Check(worker));
  const auto it = runs_.find(run_id);
  if (it == runs_.end() || it->second.deleted) return UnknownRunError(run_id);
  RunEntry* run = &it->second;
  if (!run->epoch.has_value() || run->epoch->record.epoch != epoch) {
    return StaleEpochError(run_id, epoch, run->record.epoch,
                           epoch > run->record.epoch ? "does not exist" : "is closed");
  }
  const int rank = run->epoch->RankOf(worker.name());
  if (rank < 0 || run->epoch->record.members[rank].incarnation != worker.incarnation()) {
    return StaleEpochError(run_id, epoch, run->record.epoch,
                           absl::StrCat("does not have ", worker.name(), " as a member"));
  }
  return Fenced{run, &*run->epoch, rank};
}

absl::StatusOr<RunTurn> Coordinator::TurnOf(const v1::WorkerIdentity& worker,
                                            const std::string& run_id) {
  RETURN_IF_ERROR(workers_.Check(worker));
  workers_.Hear(worker, clock_->Monotonic());
  const auto it = runs_.find(run_id);
  if (it == runs_.end() || it->second.deleted) return UnknownRunError(run_id);
  return TurnOf(&it->second);
}

absl::Status Coordinator::Write(WriteBatch* batch) {
  for (const RunRecord& record : batch->runs) {
    [[maybe_unused]] const auto it = runs_.find(record.run_id);
    assert(it == runs_.end() || it->second.gate->taken);
  }
  for (v1::Event& e : batch->events) e.set_id(next_event_id_++);
  WriteQueue::Entry entry(*batch);
  writes_.Put(&entry);
  const absl::Status status = Apart([&] {
    absl::Status answer = writes_.Await(&entry);
    return absl::IsUnavailable(answer) && WasStored(*batch) ? absl::OkStatus() : answer;
  });
  if (status.ok()) {
    for (const v1::Event& e : batch->events)
      LogInfo(e.kind(), {{"run", e.run_id()}, {"message", e.message()}});
  }
  MutexLock lock(&health_mu_);
  if (stopping_) return status;
  // A key that is there already is an answer of a store that is well.
  health_ = status.ok() || absl::IsAlreadyExists(status)
                ? absl::OkStatus()
                : absl::UnavailableError(
                      absl::StrCat("the last write failed: ", std::string(status.message())));
  health_until_ = clock_->Monotonic() + kUnhealthyFor;
  return status;
}

bool Coordinator::WasStored(const WriteBatch& batch) {
  // Another coordinator that took the lead meanwhile gives the same ids to events of its own.
  const auto is_there = [this](const v1::Event& event) {
    const absl::StatusOr<std::vector<v1::Event>> found =
        store_->Events(event.run_id(), event.id() - 1, 1);
    return found.ok() && !found->empty() &&
           found->front().SerializeAsString() == event.SerializeAsString();
  };
  if (!batch.events.empty()) return absl::c_all_of(batch.events, is_there);
  // Nobody writes an id that is there already.
  return !batch.requests.empty() && store_->RequestSeen(batch.requests.front()).value_or(false);
}

absl::Status Coordinator::Health() {
  MutexLock lock(&health_mu_);
  return health_until_ > clock_->Monotonic() ? health_ : absl::OkStatus();
}

CoordinatorStats Coordinator::Stats() {
  MutexLock lock(&mu_);
  CoordinatorStats out = stats_;
  for (const auto& [id, run] : runs_) {
    if (run.deleted) continue;
    ++out.runs_by_state[ShownState(run)];
    if (IsFinal(run.record.state)) continue;
    CoordinatorStats::Training& t = out.training[id];
    t.step = run.record.step;
    t.active_seconds = run.active_seconds;
    t.productive_seconds = run.productive_seconds;
    t.waiting = WaitCauseName(run.waiting());
    if (run.epoch.has_value() && run.epoch->straggler.has_value()) {
      t.straggler = run.epoch->straggler->worker;
      t.straggler_ratio = run.epoch->straggler->ratio();
    }
    const int64_t since =
        run.checkpoints.empty() ? run.record.started_ms : run.checkpoints.back().committed_ms();
    if (since > 0) t.checkpoint_age_seconds = static_cast<double>(NowMs() - since) / 1000;
  }
  for (const WorkerView& w : workers_.Views(clock_->Monotonic(), {})) {
    static constexpr const char* kNames[] = {"idle", "training", "leaving", "draining", "lost"};
    ++out.workers_by_state[w.left ? "left" : kNames[static_cast<int>(w.standing)]];
  }
  return out;
}

}  // namespace tritter
