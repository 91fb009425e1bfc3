#include "worker/agent.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/log.h"

namespace tritter {
namespace {

constexpr char kLeaves[] = "this worker leaves";

const char* KindName(EpochOutcome::Kind kind) {
  switch (kind) {
    case EpochOutcome::Kind::kDone:
      return "done";
    case EpochOutcome::Kind::kEnded:
      return "ended";
    case EpochOutcome::Kind::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace

WorkerAgent::WorkerAgent(Options options) : options_(std::move(options)) {}

WorkerAgent::~WorkerAgent() {
  EndActive("the worker ends");
  if (retiring_.joinable()) retiring_.join();
}

void WorkerAgent::OnAssignment(const Assignment& assignment) {
  {
    MutexLock lock(&mu_);
    uint64_t& newest = newest_epoch_[assignment.id.run_id];
    if (assignment.id.epoch <= newest) return;  // a repeat, or older than what we know
    if (draining_) {
      LogInfo(
          "assignment_declined",
          {{"run", assignment.id.run_id}, {"epoch", assignment.id.epoch}, {"reason", "draining"}});
      return;
    }
    newest = assignment.id.epoch;
  }
  EndActive(absl::StrCat("epoch ", assignment.id.epoch, " of run ", assignment.id.run_id,
                         " was assigned"));
  auto active = std::make_shared<Active>();
  EpochRunner::Options epoch = options_.epoch;
  epoch.assignment = assignment;
  active->id = assignment.id;
  HeldTrainer held;
  {
    MutexLock lock(&mu_);
    held = std::move(held_);
  }
  active->runner = std::make_unique<EpochRunner>(std::move(epoch), std::move(held));
  MutexLock lock(&mu_);
  active->thread = std::thread([this, active] { Train(active); });
  if (draining_) active->runner->Yield(kLeaves, /*until_left=*/true);
  active_ = std::move(active);
}

void WorkerAgent::Train(const std::shared_ptr<Active>& active) {
  EpochRunner* runner = nullptr;
  {
    MutexLock lock(&mu_);
    runner = active->runner.get();
  }
  const EpochOutcome outcome = runner->Run();
  HeldTrainer state = runner->TakeState();
  LogInfo("epoch_left", {{"run", active->id.run_id},
                         {"epoch", active->id.epoch},
                         {"outcome", KindName(outcome.kind)},
                         {"step", outcome.steps_done},
                         {"state_held", state.trainer != nullptr},
                         {"reason", std::string(outcome.status.message())}});
  if (retiring_.joinable()) retiring_.join();
  std::unique_ptr<EpochRunner> ended;
  {
    MutexLock lock(&mu_);
    active->step = outcome.steps_done;
    ended = std::move(active->runner);
  }
  retiring_ = std::thread([runner = std::move(ended)]() mutable { runner.reset(); });
  {
    MutexLock lock(&mu_);
    active->done = true;
    held_ = std::move(state);
    held_since_ = options_.epoch.clock->Monotonic();
    changed_.NotifyAll();
  }
  if (options_.on_news) options_.on_news();
}

void WorkerAgent::EndActive(const std::string& reason) {
  const absl::Duration until = options_.epoch.clock->Monotonic() + options_.end_limit;
  std::thread thread;
  {
    MutexLock lock(&mu_);
    const std::shared_ptr<Active> active = active_;
    if (active == nullptr) return;
    active->leaving = true;
    if (active->runner != nullptr) active->runner->Cancel(reason);
    while (!active->done) {
      const absl::Duration left = until - options_.epoch.clock->Monotonic();
      if (left <= absl::ZeroDuration()) break;
      changed_.WaitFor(&mu_, left);
    }
    if (!active->done && options_.exit_process) {
      options_.exit_process(
          kExitRestart, absl::StrCat("training did not leave epoch ", active->id.epoch, " within ",
                                     absl::FormatDuration(options_.end_limit)));
    }
    while (!active->done) changed_.Wait(&mu_);
    thread = std::move(active->thread);  // whoever comes first joins it
    if (active_ == active) active_ = nullptr;
  }
  if (thread.joinable()) thread.join();
}

void WorkerAgent::OnRendezvous(const EpochId& id, const std::string& address) {
  MutexLock lock(&mu_);
  if (active_ != nullptr && active_->id == id && active_->runner != nullptr)
    active_->runner->SetRendezvous(address);
}

void WorkerAgent::OnEndEpoch(const EpochId& id, const std::string& reason) {
  {
    MutexLock lock(&mu_);
    uint64_t& newest = newest_epoch_[id.run_id];
    newest = std::max(newest, id.epoch);  // an assignment to it that comes late is stale
    if (active_ == nullptr || active_->id != id) return;
  }
  EndActive(reason);
}

void WorkerAgent::OnYield(const EpochId& id, const std::string& reason) {
  MutexLock lock(&mu_);
  if (active_ != nullptr && active_->id == id && active_->runner != nullptr)
    active_->runner->Yield(reason, /*until_left=*/false);
}

void WorkerAgent::OnSuperseded(const std::string& reason) {
  {
    MutexLock lock(&mu_);
    draining_ = true;
  }
  EndActive(absl::StrCat("superseded: ", reason));
  if (options_.on_end) options_.on_end(reason, /*name_in_use=*/false);
}

void WorkerAgent::OnNameInUse(const std::string& reason) {
  if (options_.on_end) options_.on_end(reason, /*name_in_use=*/true);
}

HeldTrainer WorkerAgent::ExpiredLocked() {
  const absl::Duration kept = options_.epoch.clock->Monotonic() - held_since_;
  if (held_.trainer == nullptr || kept < options_.hold_state) return {};
  LogInfo("state_given_up", {{"run", held_.id.run_id},
                             {"epoch", held_.id.epoch},
                             {"step", held_.trainer->step()},
                             {"kept", absl::FormatDuration(kept)}});
  return std::move(held_);
}

HeartbeatState WorkerAgent::Heartbeat() {
  HeldTrainer expired;  // freed last
  MutexLock lock(&mu_);
  expired = ExpiredLocked();
  HeartbeatState heartbeat;
  if (active_ != nullptr && !active_->done) {
    heartbeat.id = active_->id;
    heartbeat.step = active_->step;
    heartbeat.state = "leaving";
    if (active_->runner != nullptr) {
      const EpochRunner::Status status = active_->runner->status();
      heartbeat.step = status.step;
      heartbeat.seconds_per_sequence = status.seconds_per_sequence;
      if (!active_->leaving) heartbeat.state = status.state;
    }
  }
  if (held_.trainer != nullptr) heartbeat.held = {held_.id, held_.trainer->step()};
  heartbeat.draining = draining_;
  if (draining_) heartbeat.state = "draining";
  return heartbeat;
}

bool WorkerAgent::Drain(absl::Duration limit) {
  const absl::Duration until = options_.epoch.clock->Monotonic() + limit;
  MutexLock lock(&mu_);
  if (!draining_ && active_ != nullptr && active_->runner != nullptr)
    active_->runner->Yield(kLeaves, /*until_left=*/true);
  draining_ = true;
  while (active_ != nullptr && !active_->done) {
    const absl::Duration left = until - options_.epoch.clock->Monotonic();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitFor(&mu_, left);
  }
  return true;
}

void WorkerAgent::Shutdown(const std::string& reason) { EndActive(reason); }

WorkerAgent::Options AgentOptionsOf(const std::string& name, uint64_t incarnation,
                                    EpochParts* parts, CoordinatorLink* link, Env* files) {
  WorkerAgent::Options options;
  options.epoch.parts = parts;
  options.epoch.link = link;
  options.epoch.env = files;
  options.epoch.clock = Clock::Real();
  options.epoch.request_prefix = absl::StrCat(name, "-", absl::Hex(incarnation));
  options.exit_process = [](int code, const std::string& reason) {
    LogError("exiting", {{"code", code}, {"reason", reason}});
    _exit(code);
  };
  return options;
}

}  // namespace tritter
