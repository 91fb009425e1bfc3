// From where a run goes on: the memory of its workers, or a checkpoint, which is read whole first.
#include <algorithm>
#include <thread>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/checkpoint_files.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/devices.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/decide/words.h"
#include "proto/event_kinds.h"

namespace tritter {

std::vector<std::string> Coordinator::DevicesOf(const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (const std::string& name : names) {
    const WorkerEntry* worker = workers_.Find(name);
    out.push_back(worker == nullptr ? "" : worker->info.device());
  }
  return out;
}

HeldInputs Coordinator::HeldInputsOf(const RunEntry& run) {
  HeldInputs in;
  in.newest_epoch = run.record.epoch;
  in.origin_epoch = run.origin_epoch;
  in.origin_step = run.origin_step;
  in.oldest_origin = run.oldest_origin;
  in.committed_step = run.committed_step();
  in.total_steps = run.record.total_steps;
  in.failures = run.record.failures;
  return in;
}

std::optional<HeldChoice> Coordinator::HeldOf(const RunEntry& run,
                                              const std::vector<std::string>* among) {
  std::vector<HeldView> held;
  for (const auto& [name, worker] : workers_.all()) {
    const v1::HeldState& state = worker.last.held();
    if (worker.lost || worker.session == 0 || !worker.run_id.empty()) continue;
    if (state.run_id() != run.record.run_id || !worker.last.run_id().empty()) continue;
    if (worker.last.draining()) continue;
    if (among != nullptr && !absl::c_linear_search(*among, name)) continue;
    held.push_back({name, state.epoch(), state.step()});
  }
  HeldInputs in = HeldInputsOf(run);
  if (among != nullptr) in.mixed = AreMixed(run.spec, DevicesOf(*among));
  return ChooseHeld(held, in);
}

bool Coordinator::FromMemory(RunEntry* run, const std::vector<std::string>& members) {
  const std::optional<HeldChoice> held = HeldOf(*run, &members);
  if (!held.has_value()) return false;
  ResumeDecision resume;
  resume.holders = held->holders;
  resume.step = held->step;
  resume.state_epoch = held->epoch;
  resume.reason =
      absl::StrCat("from step ", held->step, " in the memory of ", JoinWords(resume.holders));
  run->resume = std::move(resume);
  return true;
}

std::vector<std::string> Coordinator::SilentHolders(const RunEntry& run) {
  const EpochRecord& epoch = run.last_epoch;
  if (epoch.epoch != run.record.epoch || epoch.end_reason == kEndUnconfirmed) return {};
  if (run.last_end_clean && run.record.step <= run.committed_step()) return {};
  std::vector<FormerMember> members;
  std::vector<std::string> devices;
  for (const MemberRecord& member : epoch.members) {
    FormerMember& m = members.emplace_back();
    m.worker = member.worker;
    devices.push_back(member.device);
    const WorkerEntry* worker = workers_.Find(member.worker);
    if (worker == nullptr) {
      // This process has not heard of it since it was started. Who was the first to fail is dead,
      // or its state is no better than that of the others.
      m.gone = run.last_failure.has_value() && run.last_failure->epoch() == epoch.epoch &&
               run.last_failure->worker() == member.worker;
      continue;
    }
    m.gone = worker->incarnation != member.incarnation || worker->lost || worker->last.draining() ||
             !worker->run_id.empty();
    m.told = worker->session != 0 && worker->last.run_id().empty();
  }
  return YetToTell(members, HeldInputsOf(run),
                   HasWholeState(run.spec, AreMixed(run.spec, devices)));
}

bool Coordinator::WaitsForHolders(RunEntry* run) {
  const absl::Duration left = run->ended_at + options_.world.leave - clock_->Monotonic();
  if (left <= absl::ZeroDuration()) return false;
  const std::vector<std::string> silent = SilentHolders(*run);
  if (silent.empty()) return false;
  SetWaiting(run, {WaitCause::kWorkersLeaving,
                   absl::StrCat("waits ", Seconds(left), " for ", JoinWords(silent),
                                " to tell what ", silent.size() == 1 ? "it holds" : "they hold",
                                " in memory, before it goes on from a checkpoint")});
  return true;
}

std::string Coordinator::RepeatedBecause(const RunEntry& run) {
  std::vector<std::string> devices;
  for (const MemberRecord& member : run.last_epoch.members) devices.push_back(member.device);
  return WhyRepeated(HeldInputsOf(run), HasWholeState(run.spec, AreMixed(run.spec, devices)),
                     SilentHolders(run));
}

std::vector<std::string> Coordinator::TakeFromOthers(const RunEntry& run,
                                                     const std::vector<std::string>& workers,
                                                     WriteBatch* batch) {
  std::vector<std::string> out;
  for (const auto& [id, other] : runs_) {
    if (id == run.record.run_id || other.epoch.has_value() || IsFinal(other.record.state)) continue;
    const std::optional<HeldChoice> held = HeldOf(other);
    if (!held.has_value()) continue;
    std::vector<std::string> taken, rest;
    for (const auto& [name, worker] : workers_.all()) {
      if (worker.last.held().run_id() != id) continue;
      if (!absl::c_linear_search(workers, name)) {
        rest.push_back(name);
      } else if (absl::c_linear_search(held->holders, name)) {
        taken.push_back(name);
      }
    }
    if (taken.size() < held->holders.size()) continue;
    const std::optional<HeldChoice> left = HeldOf(other, &rest);
    batch->events.push_back(
        NewEvent(id, kEventStepsGivenUp,
                 GivenUpWords(taken, NamedRun(run.record.name, run.record.run_id), held->step,
                              left.has_value() ? left->step : other.committed_step(),
                              other.committed_step())));
    out.push_back(id);
  }
  return out;
}

std::string Coordinator::GoesOnFrom(const RunEntry& run, WaitCause cause) {
  if (run.record.epoch == 0 || !ForWorkers(cause)) return "";
  const std::optional<HeldChoice> held = HeldOf(run);
  if (!held.has_value() && run.committed_step() == 0) return "";
  return GoesOnWords(held.has_value() ? held->holders : std::vector<std::string>(),
                     held.has_value() ? held->step : 0, run.committed_step());
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
  uint64_t newest_epoch = 0;
  const auto wait = [&](RunEntry* run, Wait obstacle) REQUIRES(mu_) {
    const RunTurn turn = TurnOf(run);
    if (!NeedsWorkers(run->record.state) || run->epoch.has_value()) return;  // by now
    run->obstacle = std::move(obstacle);
    run->not_before = clock_->Monotonic() + kLookAgain;
    SetWaiting(run, run->obstacle);
  };
  {
    MutexLock lock(&mu_);
    RunEntry& run = runs_.at(run_id);
    if (absl::Status s = RecoverFolders(&run); !s.ok()) {
      wait(&run, {WaitCause::kCheckpointsNotTidied,
                  absl::StrCat("its checkpoints cannot be tidied: ", std::string(s.message()))});
      return;
    }
    checkpoints = run.checkpoints;
    newest_epoch = run.record.epoch;
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
  // An epoch was formed from memory meanwhile, or the last one's checkpoint was committed: what was
  // read is not the newest any more.
  const int64_t read = checkpoints.empty() ? 0 : checkpoints.back().step();
  if (run.record.epoch != newest_epoch || run.committed_step() != read) return;
  if (decision.wait) return wait(&run, {decision.cause, std::move(decision.reason)});
  run.obstacle = {};
  run.resume = std::move(decision);
}

}  // namespace tritter
