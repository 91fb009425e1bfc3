// Workers: registration, sessions, heartbeats, rendezvous.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"
#include "coordinator/report_checks.h"

namespace tritter {
namespace {

constexpr size_t kMaxKnownWorkers = 8192;

absl::Status CheckName(const std::string& name) {
  constexpr size_t kMaxName = 128;
  bool good = !name.empty() && name.size() <= kMaxName;
  for (const char c : name) good = good && c > ' ' && c < 127 && c != '/' && c != '"';
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("worker.name must have 1 to ", kMaxName,
                   " printable characters without blank, slash and quote, it has ", name.size()));
}

// What a machine can have; figures beyond would overflow what is computed with them.
absl::Status CheckSizes(const v1::RegisterRequest& request) {
  constexpr int64_t kMostMemory = int64_t{1} << 50;
  constexpr int32_t kMostThreads = 1 << 16;
  if (request.memory_bytes() < 0 || request.memory_bytes() > kMostMemory) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory_bytes is ", request.memory_bytes(), ", taken are 0 to ", kMostMemory));
  }
  if (request.threads() < 0 || request.threads() > kMostThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", request.threads(), ", taken are 0 to ", kMostThreads));
  }
  return absl::OkStatus();
}

v1::Command EndCommand(const std::string& run_id, uint64_t epoch, const std::string& reason) {
  v1::Command command;
  command.mutable_end_epoch()->set_run_id(run_id);
  command.mutable_end_epoch()->set_epoch(epoch);
  command.mutable_end_epoch()->set_reason(reason);
  return command;
}

}  // namespace

absl::StatusOr<v1::RegisterResponse> Coordinator::Register(const v1::RegisterRequest& request) {
  RETURN_IF_ERROR(CheckName(request.worker().name()));
  RETURN_IF_ERROR(CheckSizes(request));
  MutexLock lock(&mu_);
  if (workers_.all().size() >= kMaxKnownWorkers &&
      workers_.Find(request.worker().name()) == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxKnownWorkers, " workers are known, with those lost in the last ",
                     absl::FormatDuration(options_.forget_lost_workers), ", and ",
                     request.worker().name(), " is none of them; give workers names that last"));
  }
  RETURN_IF_ERROR(workers_.Register(request, clock_->Monotonic(), NowMs()));
  LogInfo("worker_registered", {{"worker", request.worker().name()},
                                {"incarnation", request.worker().incarnation()},
                                {"host", request.host()},
                                {"device", request.device()},
                                {"pid", request.pid()}});
  v1::RegisterResponse out;
  out.set_heartbeat_interval_ms(absl::ToInt64Milliseconds(options_.liveness.heartbeat_interval));
  out.set_heartbeat_timeout_ms(absl::ToInt64Milliseconds(options_.liveness.heartbeat_timeout));
  out.set_coordinator_id(coordinator_id_);
  return out;
}

absl::StatusOr<uint64_t> Coordinator::OpenSession(const v1::Heartbeat& first,
                                                  std::shared_ptr<CommandSink> sink) {
  RETURN_IF_ERROR(CheckHeartbeat(first));
  MutexLock lock(&mu_);
  if (stopping_) return absl::UnavailableError("the coordinator is stopping; reconnect");
  WorkerEntry old;
  ASSIGN_OR_RETURN(WorkerEntry * worker, workers_.Enter(first.worker(), clock_->Monotonic(), &old));
  // No session waits for a write: what follows from that is for the next tick, which is at once.
  if (!old.name.empty()) replaced_.push_back(std::move(old));
  if (worker->sink != nullptr)
    worker->sink->Close(absl::AbortedError("the worker opened another session"));
  const uint64_t session = workers_.Attach(worker, std::move(sink), clock_->Monotonic(), NowMs());
  workers_.Beat(worker, first, clock_->Monotonic(), NowMs());
  SendStanding(worker);
  kicked_ = true;
  wake_.NotifyAll();
  return session;
}

// What the worker must know and may have missed with an earlier stream.
void Coordinator::SendStanding(WorkerEntry* entry) {
  WorkerEntry& worker = *entry;
  if (worker.sink == nullptr) return;
  const auto it = runs_.find(worker.run_id);
  if (it == runs_.end() || !it->second.epoch.has_value()) {
    if (!worker.last.run_id().empty()) {
      worker.sink->Push(
          EndCommand(worker.last.run_id(), worker.last.epoch(), "the epoch is closed"));
    }
    return;
  }
  const RunEntry& run = it->second;
  if (!worker.last.run_id().empty() &&
      (worker.last.run_id() != worker.run_id || worker.last.epoch() != worker.epoch)) {
    worker.sink->Push(EndCommand(worker.last.run_id(), worker.last.epoch(), "the epoch is closed"));
  }
  const int rank = run.epoch->RankOf(worker.name);
  if (run.epoch->done.contains(rank)) return;
  worker.sink->Push(AssignmentFor(run, rank));
  worker.told_at = clock_->Monotonic();
  if (run.epoch->record.rendezvous.empty()) return;
  v1::Command command;
  command.mutable_rendezvous()->set_run_id(worker.run_id);
  command.mutable_rendezvous()->set_epoch(worker.epoch);
  command.mutable_rendezvous()->set_address(run.epoch->record.rendezvous);
  worker.sink->Push(command);
}

absl::Status Coordinator::Beat(uint64_t session, const v1::Heartbeat& heartbeat) {
  RETURN_IF_ERROR(CheckHeartbeat(heartbeat));
  MutexLock lock(&mu_);
  WorkerEntry* worker = workers_.BySession(session);
  if (worker == nullptr) return absl::AbortedError("the session is closed; open another");
  RETURN_IF_ERROR(workers_.Check(heartbeat.worker()));
  if (heartbeat.worker().name() != worker->name) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the session belongs to ", worker->name, ", the heartbeat to ", heartbeat.worker().name()));
  }
  ++stats_.heartbeats;
  const bool was_busy = !worker->last.run_id().empty(), was_draining = worker->last.draining();
  workers_.Beat(worker, heartbeat, clock_->Monotonic(), NowMs());
  if (heartbeat.draining() && !was_draining) {  // its group is told to stop at once
    kicked_ = true;
    wake_.NotifyAll();
  }
  if (heartbeat.run_id().empty()) {
    HandleIdle(worker);
    if (was_busy) {
      kicked_ = true;
      wake_.NotifyAll();
    }
    return absl::OkStatus();
  }
  const auto it = runs_.find(heartbeat.run_id());
  const bool current = worker->run_id == heartbeat.run_id() && worker->epoch == heartbeat.epoch();
  if (!current) {
    // An epoch that ended as it should is left by itself: its last report may still be on the way.
    const bool ended_well = it != runs_.end() && it->second.last_end_clean &&
                            it->second.last_epoch.epoch == heartbeat.epoch();
    if (!ended_well)
      worker->sink->Push(EndCommand(heartbeat.run_id(), heartbeat.epoch(), "the epoch is closed"));
    return absl::OkStatus();
  }
  RunEntry& run = it->second;
  if (heartbeat.step() > run.record.step && heartbeat.step() <= run.epoch->planned_end()) {
    run.record.step = heartbeat.step();
    Touch(&run);
  }
  return absl::OkStatus();
}

// A member says that it is in no epoch.
void Coordinator::HandleIdle(WorkerEntry* worker) {
  const auto it = runs_.find(worker->run_id);
  if (worker->run_id.empty() || it == runs_.end() || !it->second.epoch.has_value()) return;
  RunEntry& run = it->second;
  const int rank = run.epoch->RankOf(worker->name);
  if (run.epoch->done.contains(rank)) {
    run.epoch->left.insert(rank);
    if (run.epoch->all_left()) {  // no heartbeat waits for the end to be stored
      kicked_ = true;
      wake_.NotifyAll();
    }
    return;
  }
  const bool declined = worker->last.draining() && !worker->joined;
  // It takes no epoch twice: one that it left while we were away it does not join again.
  const bool ignored =
      !worker->joined && worker->told_at.has_value() &&
      clock_->Monotonic() - *worker->told_at >= options_.liveness.heartbeat_timeout;
  if ((worker->joined || declined || ignored) && !run.epoch->complaint.has_value()) {
    const char* what = declined ? " is draining and did not join the epoch"
                       : ignored
                           ? " did not join the epoch, or left it while the coordinator was away"
                           : " left the epoch without a word";
    run.epoch->complaint =
        Complaint{rank, absl::StrCat(NamedWorker(worker->name), what), false, clock_->Monotonic()};
  }
}

void Coordinator::CloseSession(uint64_t session) {
  MutexLock lock(&mu_);
  WorkerEntry* worker = workers_.BySession(session);
  if (worker == nullptr) return;
  workers_.Detach(worker, clock_->Monotonic());
  LogInfo("session_closed", {{"worker", worker->name}});
}

absl::Status Coordinator::PublishRendezvous(const v1::PublishRendezvousRequest& request) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunTurn turn, TurnOf(request.worker(), request.run_id()));
  ASSIGN_OR_RETURN(const Fenced at, Fence(request.worker(), request.run_id(), request.epoch()));
  if (at.rank != 0) {
    return absl::InvalidArgumentError(absl::StrCat("only rank 0 publishes a rendezvous, ",
                                                   request.worker().name(), " is rank ", at.rank));
  }
  if (request.address().empty() || request.address().size() > 256) {
    return absl::InvalidArgumentError("rendezvous address must have 1 to 256 characters");
  }
  if (at.epoch->record.rendezvous != request.address()) {
    EpochRecord next = at.epoch->record;
    next.rendezvous = request.address();
    WriteBatch batch;
    batch.epochs = {next};
    RETURN_IF_ERROR(Write(&batch));
    at.epoch->record = std::move(next);
  }
  v1::Command command;
  command.mutable_rendezvous()->set_run_id(request.run_id());
  command.mutable_rendezvous()->set_epoch(request.epoch());
  command.mutable_rendezvous()->set_address(request.address());
  for (const MemberRecord& member : at.epoch->record.members) {
    const WorkerEntry* worker = workers_.Find(member.worker);
    if (worker != nullptr && worker->sink != nullptr) worker->sink->Push(command);
  }
  return absl::OkStatus();
}

v1::ListWorkersResponse Coordinator::ListWorkers() {
  MutexLock lock(&mu_);
  v1::ListWorkersResponse out;
  for (const auto& [name, w] : workers_.all()) {
    v1::WorkerInfo* info = out.add_workers();
    info->set_name(name);
    info->set_incarnation(w.incarnation);
    info->set_state(w.left              ? "left"
                    : w.lost            ? "lost"
                    : w.last.draining() ? "draining"
                    : w.run_id.empty()  ? "idle"
                                        : "training");
    info->set_host(w.info.host());
    info->set_device(w.info.device());
    info->set_run_id(w.run_id);
    info->set_last_seen_ms(w.last_seen_ms);
    info->set_threads(w.info.threads());
  }
  return out;
}

}  // namespace tritter
