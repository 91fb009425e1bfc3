#include "tests/simulation/sim_worker.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/simulation/sim_epoch.h"

namespace tritter::simulation {

SimWorker::SimWorker(const WorkerParts& parts, int host, std::string name, uint64_t incarnation,
                     double seconds_per_step, double hangs)
    : parts_(parts),
      host_(host),
      name_(std::move(name)),
      incarnation_(incarnation),
      seconds_per_step_(seconds_per_step),
      hangs_(hangs) {}

v1::WorkerIdentity SimWorker::Identity() const {
  v1::WorkerIdentity id;
  id.set_name(name_);
  id.set_incarnation(incarnation_);
  return id;
}

void SimWorker::Later(absl::Duration delay, std::function<void()> act) {
  parts_.world->After(delay, [self = shared_from_this(), act = std::move(act)] {
    if (!self->alive_) return;
    if (self->frozen_until_ > self->parts_.world->now()) {
      return self->Later(self->frozen_until_ - self->parts_.world->now(), act);
    }
    act();
  });
}

void SimWorker::Start() {
  parts_.world->Note(name_, " starts, incarnation ", incarnation_ % 10000);
  Connect();
}

void SimWorker::Connect() {
  if (connecting_ || stream_ != nullptr) return;
  connecting_ = true;
  const auto again = [self = shared_from_this()](absl::Duration pause) {
    self->Later(pause, [self] {
      self->connecting_ = false;
      self->Connect();
    });
  };
  if (!registered_) {
    Call<v1::RegisterResponse>(
        [self = shared_from_this()](Coordinator* c) {
          v1::RegisterRequest request;
          *request.mutable_worker() = self->Identity();
          request.set_host(absl::StrCat("host-", self->host_));
          request.set_device(self->parts_.device);
          request.set_threads(1);
          request.set_memory_bytes(int64_t{8} << 30);
          return c->Register(request);
        },
        [self = shared_from_this(), again](const absl::StatusOr<v1::RegisterResponse>& response) {
          self->registered_ = self->registered_ || response.ok();
          if (response.ok()) self->refused_since_.reset();
          if (!response.ok()) self->pause_ = std::min(self->pause_ * 2, absl::Seconds(2));
          again(response.ok() ? absl::ZeroDuration() : self->pause_);
        });
    return;
  }
  connecting_ = false;
  const uint64_t turn = ++turn_;
  stream_ =
      parts_.network->Open(shared_from_this(), MakeHeartbeat(),
                           {.on_command =
                                [self = shared_from_this(), turn](const v1::Command& command) {
                                  if (self->alive_ && self->turn_ == turn) self->Take(command);
                                },
                            .on_end =
                                [self = shared_from_this(), turn](const absl::Status& status) {
                                  if (self->alive_ && self->turn_ == turn)
                                    self->StreamEnded(status);
                                }});
  Beat(turn);
}

void SimWorker::Beat(uint64_t turn) {
  Later(absl::Seconds(1), [self = shared_from_this(), turn] {
    if (self->turn_ != turn || self->stream_ == nullptr) return;
    self->pause_ = absl::Milliseconds(200);
    self->Nudge();
    self->Beat(turn);
  });
}

void SimWorker::Nudge() {
  if (stream_ != nullptr) parts_.network->Send(stream_, MakeHeartbeat());
}

v1::Heartbeat SimWorker::MakeHeartbeat() const {
  v1::Heartbeat h;
  *h.mutable_worker() = Identity();
  h.set_state(draining_ ? "draining" : "idle");
  h.set_draining(draining_);
  if (epoch_ != nullptr) epoch_->Describe(&h);
  if (held_.has_value()) {
    h.mutable_held()->set_run_id(held_->run);
    h.mutable_held()->set_epoch(held_->epoch);
    h.mutable_held()->set_step(held_->step);
  }
  return h;
}

absl::Duration SimWorker::unanswered_for() const {
  return epoch_ == nullptr ? absl::ZeroDuration() : epoch_->unanswered_for();
}

bool SimWorker::AwaitsGroup(const std::string& run, uint64_t epoch) const {
  return epoch_ == nullptr || !epoch_->Is(run, epoch) || epoch_->awaits_rendezvous();
}

void SimWorker::StreamEnded(const absl::Status& status) {
  parts_.world->Note(name_, "'s session ends: ", status.message());
  stream_ = nullptr;
  ++turn_;
  Heard(status).IgnoreError();
  if (!alive_) return;
  pause_ = std::min(pause_ * 2, absl::Seconds(2));
  Later(pause_ * parts_.world->Between(0.1, 1.0), [self = shared_from_this()] { self->Connect(); });
}

void SimWorker::EndStream() {
  if (stream_ == nullptr) return;
  parts_.network->CloseByWorker(std::exchange(stream_, nullptr));
  ++turn_;
}

void SimWorker::ResetConnection() {
  if (stream_ != nullptr) parts_.network->Reset(stream_);
}

absl::Status SimWorker::Heard(const absl::Status& status) {
  const std::optional<v1::ErrorDetail> detail = DetailOf(status);
  const v1::ErrorDetail::Reason reason =
      detail.has_value() ? detail->reason() : v1::ErrorDetail::REASON_UNSPECIFIED;
  switch (reason) {
    case v1::ErrorDetail::UNKNOWN_WORKER:
      registered_ = false;
      if (stream_ != nullptr) {
        EndStream();
        Later(pause_, [self = shared_from_this()] { self->Connect(); });
      }
      return absl::UnavailableError(status.message());
    case v1::ErrorDetail::NAME_IN_USE: {
      registered_ = false;
      if (status.code() == absl::StatusCode::kUnavailable) return status;  // that one leaves
      constexpr absl::Duration kPatience = absl::Seconds(8), kAskAgain = absl::Milliseconds(500);
      const absl::Duration now = parts_.world->now();
      pause_ = std::min(pause_, kAskAgain / 2);
      if (!refused_since_.has_value()) refused_since_ = now;
      if (now - *refused_since_ >= kPatience) {
        parts_.world->Note(name_, " ends: its name is in use");
        Die(/*restarts=*/false);
      }
      return absl::UnavailableError(status.message());
    }
    case v1::ErrorDetail::STALE_INCARNATION:
      parts_.world->Note(name_, " ends: another process has its name");
      parts_.on_superseded(*this);
      Die(/*restarts=*/false);
      return absl::UnavailableError(status.message());
    case v1::ErrorDetail::STALE_EPOCH:
      return absl::AbortedError(status.message());
    default:
      break;
  }
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kResourceExhausted:
      return absl::UnavailableError(status.message());
    default:
      return status;
  }
}

void SimWorker::Take(const v1::Command& command) {
  if (command.has_end_epoch()) {
    const v1::EndEpoch& end = command.end_epoch();
    uint64_t& newest = newest_epoch_[end.run_id()];
    newest = std::max(newest, end.epoch());
    if (epoch_ != nullptr && epoch_->Is(end.run_id(), end.epoch())) epoch_->Cancel();
    return;
  }
  if (command.has_rendezvous()) {
    const v1::RendezvousReady& r = command.rendezvous();
    if (epoch_ != nullptr && epoch_->Is(r.run_id(), r.epoch())) epoch_->RendezvousKnown();
    return;
  }
  if (command.has_yield()) {
    const v1::Yield& y = command.yield();
    if (epoch_ != nullptr && epoch_->Is(y.run_id(), y.epoch())) epoch_->Yield();
    return;
  }
  if (!command.has_assignment()) return;
  const v1::Assignment& a = command.assignment();
  uint64_t& newest = newest_epoch_[a.run_id()];
  if (a.epoch() <= newest || draining_) return;
  newest = a.epoch();
  if (epoch_ != nullptr) epoch_->Cancel();
  const auto begin = [self = shared_from_this(), a] {
    // The session's thread waits until the epoch before has been left.
    self->parts_.world->Note(self->name_, " joins epoch ", a.epoch(), " of ", a.run_id(),
                             " as rank ", a.rank(), " of ", a.world_size(), " from step ",
                             a.start_step(), a.from_memory() ? " in memory" : "");
    self->epoch_ =
        std::make_shared<SimEpoch>(self.get(), a, std::exchange(self->held_, std::nullopt));
    self->epoch_->Start();
    self->Nudge();
  };
  if (epoch_ == nullptr) return begin();
  epoch_->Then(begin);
}

void SimWorker::EpochEnded(SimEpoch* epoch) {
  if (epoch_.get() != epoch) return;
  const std::function<void()> next = epoch->next();
  held_ = epoch->TakeState();
  if (held_.has_value()) parts_.on_held(*held_);
  epoch_ = nullptr;
  if (next) return next();
  if (draining_) return Die(/*restarts=*/true);
  Nudge();
}

void SimWorker::Die(bool restarts) {
  if (!std::exchange(alive_, false)) return;
  parts_.world->Note(name_, " is gone");
  ended_at_ = parts_.world->now();
  if (epoch_ != nullptr) epoch_->ProcessDied();
  epoch_ = nullptr;
  EndStream();
  if (on_end) on_end(restarts);
}

void SimWorker::Drain() {
  if (std::exchange(draining_, true)) return;
  parts_.world->Note(name_, " drains");
  if (epoch_ == nullptr) {
    Nudge();
    return Later(absl::Milliseconds(300), [self = shared_from_this()] {
      if (self->epoch_ == nullptr) self->Die(/*restarts=*/true);
    });
  }
  Nudge();
}

void SimWorker::FailEpoch(bool permanent) {
  if (epoch_ != nullptr) epoch_->Fail("simulated: loss is not finite", permanent);
}

}  // namespace tritter::simulation
