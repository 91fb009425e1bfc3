#include "coordinator/worker_registry.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/errors.h"

namespace tritter {

Standing WorkerRegistry::StandingOf(const WorkerEntry& w) {
  if (w.lost) return Standing::kLost;
  if (!w.run_id.empty()) return Standing::kBusy;
  if (w.last.draining()) return Standing::kDraining;  // also in the moment after it has gone
  if (w.session == 0)
    return Standing::kLeaving;  // not (or no longer) attached: decided within the grace
  return w.last.run_id().empty() ? Standing::kIdle : Standing::kLeaving;
}

std::string WorkerRegistry::ProcessIfKnown(const WorkerEntry& worker) {
  if (!worker.registered) return "";
  return absl::StrCat("pid ", worker.info.pid(), " on ", worker.info.host());
}

std::string WorkerRegistry::ProcessOf(const WorkerEntry& worker) {
  const std::string process = ProcessIfKnown(worker);
  return process.empty() ? "a process that is awaited" : process;
}

namespace {

// Of a name that was refused to another process so short a time ago two are alive, and ask.
constexpr absl::Duration kContested = absl::Seconds(15);

absl::Status CheckMayFollow(uint64_t incarnation, absl::Duration now, WorkerEntry* of) {
  WorkerEntry& worker = *of;
  const std::string process = WorkerRegistry::ProcessOf(worker);
  if (absl::c_linear_search(worker.replaced, incarnation))
    return StaleIncarnationError(worker.name, incarnation, worker.incarnation, process);
  // One whose host is gone has a session until it has been silent for too long; the other asks
  // again until then.
  if (worker.session != 0) {
    worker.contested_at = now;
    return NameInUseError(
        worker.name, process,
        worker.last.draining() ? "it was told to leave: its name is free when it has" : "");
  }
  // A connection that breaks for a moment is no chance for the other. Where nobody has asked while
  // it was connected, the one that asks now has been started in its place: it need not wait.
  if (!worker.lost && !worker.last.draining() && now - worker.contested_at < kContested) {
    return NameInUseError(worker.name, process,
                          "its connection broke a moment ago and may come back");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WorkerRegistry::Register(const v1::RegisterRequest& request, absl::Duration now,
                                      int64_t now_ms) {
  const std::string& name = request.worker().name();
  const auto [it, is_new] = workers_.try_emplace(name);
  WorkerEntry& worker = it->second;
  if (is_new) {
    worker.name = name;
    worker.incarnation = request.worker().incarnation();
    worker.started = worker.standing_since = now;
    worker.detached_at = now;  // it has the grace of a broken stream to open one
  } else if (worker.incarnation != request.worker().incarnation()) {
    RETURN_IF_ERROR(CheckMayFollow(request.worker().incarnation(), now, &worker));
    worker.successor = request;
    return absl::OkStatus();
  }
  worker.info = request;
  worker.registered = true;
  worker.last_seen_ms = now_ms;
  Hear(request.worker(), now);
  return absl::OkStatus();
}

absl::StatusOr<WorkerEntry*> WorkerRegistry::Enter(const v1::WorkerIdentity& id, absl::Duration now,
                                                   WorkerEntry* old) {
  constexpr size_t kRemembered = 16;
  WorkerEntry* worker = Find(id.name());
  if (worker == nullptr) return UnknownWorkerError(id.name());
  if (worker->incarnation == id.incarnation()) {
    if (worker->registered) return worker;
    Hear(id, now);
    return UnknownWorkerError(id.name());
  }
  RETURN_IF_ERROR(CheckMayFollow(id.incarnation(), now, worker));
  if (!worker->successor.has_value() ||
      worker->successor->worker().incarnation() != id.incarnation())
    return UnknownWorkerError(id.name());
  *old = std::exchange(*worker, WorkerEntry());
  worker->name = id.name();
  worker->incarnation = id.incarnation();
  worker->info = *old->successor;
  worker->registered = true;
  worker->started = worker->standing_since = now;
  worker->replaced = std::move(old->replaced);
  worker->replaced.push_back(old->incarnation);
  if (worker->replaced.size() > kRemembered) worker->replaced.erase(worker->replaced.begin());
  return worker;
}

void WorkerRegistry::Await(const MemberRecord& member, const std::string& run_id, uint64_t epoch,
                           absl::Duration now) {
  WorkerEntry& worker = workers_[member.worker];
  worker.name = member.worker;
  worker.incarnation = member.incarnation;
  worker.info.mutable_worker()->set_name(member.worker);
  worker.info.mutable_worker()->set_incarnation(member.incarnation);
  worker.info.set_device(member.device);
  worker.info.set_memory_bytes(member.memory_bytes);
  worker.awaited = true;
  worker.registered = false;
  worker.started = worker.standing_since = now;
  worker.run_id = run_id;
  worker.epoch = epoch;
  worker.joined = false;  // its assignment may not have reached it: a heartbeat will say
  worker.told_at.reset();
}

WorkerEntry* WorkerRegistry::Find(const std::string& name) {
  const auto it = workers_.find(name);
  return it == workers_.end() ? nullptr : &it->second;
}

WorkerEntry* WorkerRegistry::BySession(uint64_t session) {
  const auto it = by_session_.find(session);
  return it == by_session_.end() ? nullptr : it->second;
}

absl::Status WorkerRegistry::Check(const v1::WorkerIdentity& id) {
  const WorkerEntry* worker = Find(id.name());
  if (worker == nullptr) return UnknownWorkerError(id.name());
  if (worker->incarnation != id.incarnation()) {
    return StaleIncarnationError(id.name(), id.incarnation(), worker->incarnation,
                                 ProcessOf(*worker));
  }
  return absl::OkStatus();
}

void WorkerRegistry::Hear(const v1::WorkerIdentity& id, absl::Duration now) {
  WorkerEntry* worker = Find(id.name());
  if (worker == nullptr || worker->incarnation != id.incarnation() || !worker->awaited) return;
  worker->heard_at = now;
}

uint64_t WorkerRegistry::Attach(WorkerEntry* worker, std::shared_ptr<CommandSink> sink,
                                absl::Duration now, int64_t now_ms) {
  by_session_.erase(worker->session);
  worker->session = next_session_++;
  by_session_[worker->session] = worker;
  worker->sink = std::move(sink);
  worker->awaited = worker->missed = false;
  if (worker->lost) worker->standing_since = now;
  worker->lost = worker->left = false;
  worker->last_heartbeat = now;
  worker->last_seen_ms = now_ms;
  return worker->session;
}

void WorkerRegistry::Miss(WorkerEntry* worker) { worker->missed = worker->awaited; }

void WorkerRegistry::Detach(WorkerEntry* worker, absl::Duration now) {
  by_session_.erase(worker->session);
  worker->session = 0;
  worker->sink.reset();
  worker->detached_at = now;
}

void WorkerRegistry::Beat(WorkerEntry* worker, const v1::Heartbeat& heartbeat, absl::Duration now,
                          int64_t now_ms) {
  const Standing before = StandingOf(*worker);
  worker->last = heartbeat;
  worker->last_heartbeat = now;
  worker->last_seen_ms = now_ms;
  worker->lost = worker->left = false;  // a silent host that speaks again; its epoch is gone
  if (!worker->run_id.empty() && heartbeat.run_id() == worker->run_id &&
      heartbeat.epoch() == worker->epoch) {
    worker->joined = true;
  }
  if (StandingOf(*worker) != before) worker->standing_since = now;
}

void WorkerRegistry::Assign(WorkerEntry* worker, const std::string& run_id, uint64_t epoch,
                            absl::Duration now) {
  worker->run_id = run_id;
  worker->epoch = epoch;
  worker->told_at.reset();
  worker->joined = false;
  worker->standing_since = now;
}

void WorkerRegistry::Release(WorkerEntry* worker, absl::Duration now) {
  worker->run_id.clear();
  worker->epoch = 0;
  worker->joined = false;
  worker->standing_since = now;
}

void WorkerRegistry::Excuse(absl::Duration back) {
  for (auto& [name, worker] : workers_) {
    if (worker.lost) continue;
    worker.last_heartbeat = std::max(worker.last_heartbeat, back);
    worker.detached_at = std::max(worker.detached_at, back);
    worker.started = std::max(worker.started, back);
  }
}

std::vector<WorkerEntry*> WorkerRegistry::MarkLost(absl::Duration now,
                                                   const LivenessOptions& options) {
  std::vector<WorkerEntry*> out;
  for (auto& [name, worker] : workers_) {
    if (worker.lost) continue;
    Liveness liveness;
    liveness.attached = worker.session != 0;
    liveness.awaited = worker.awaited;
    liveness.missed = worker.missed;
    if (!liveness.attached) liveness.detached_for = now - worker.detached_at;
    liveness.silent_for = now - worker.last_heartbeat;
    liveness.awaited_for = now - worker.started;
    liveness.unheard_for = now - worker.heard_at;
    liveness.process = ProcessIfKnown(worker);
    std::optional<Loss> loss = DecideLoss(liveness, options);
    if (!loss.has_value()) continue;
    worker.lost = true;
    worker.awaited = worker.missed = false;
    worker.lost_kind = loss->kind;
    worker.lost_why = std::move(loss->why);
    worker.standing_since = now;
    out.push_back(&worker);
  }
  return out;
}

void WorkerRegistry::Forget(absl::Duration now, absl::Duration age) {
  for (auto it = workers_.begin(); it != workers_.end();) {
    const WorkerEntry& w = it->second;
    const bool gone = w.lost && w.run_id.empty() && w.session == 0 && now - w.standing_since > age;
    it = gone ? workers_.erase(it) : std::next(it);
  }
}

std::vector<WorkerView> WorkerRegistry::Views(
    absl::Duration now, const std::map<std::string, std::string>& run_names) const {
  std::vector<WorkerView> out;
  for (const auto& [name, worker] : workers_) {
    WorkerView view;
    view.name = name;
    view.standing = StandingOf(worker);
    view.device = worker.info.device();
    view.memory_bytes = worker.info.memory_bytes();
    const std::string& run = worker.run_id.empty() ? worker.last.run_id() : worker.run_id;
    const auto it = run_names.find(run);
    view.run_name = run.empty() ? "" : it == run_names.end() ? "an earlier epoch" : it->second;
    if (it != run_names.end()) view.run_id = run;
    view.why = worker.lost_why;
    view.left = worker.left;
    view.version = worker.info.code_version();
    view.since = now - worker.standing_since;
    view.holds = worker.last.has_held();
    out.push_back(std::move(view));
  }
  return out;
}

}  // namespace tritter
