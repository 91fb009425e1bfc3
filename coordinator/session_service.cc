#include "coordinator/session_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "access/message_limits.h"
#include "common/clock.h"
#include "coordinator/rpc_error_service.h"

namespace tritter {
namespace {

absl::Status NoHeartbeat(absl::Duration limit) {
  return absl::InvalidArgumentError(absl::StrCat("a session begins with a heartbeat, within ",
                                                 absl::FormatDuration(limit), " of the call"));
}

}  // namespace

SessionInbox::SessionInbox(Coordinator* coordinator)
    : coordinator_(coordinator), thread_([this] { Loop(); }) {}

SessionInbox::~SessionInbox() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void SessionInbox::Put(std::shared_ptr<SessionStream> stream,
                       std::optional<v1::Heartbeat> heartbeat) {
  MutexLock lock(&mu_);
  arrivals_.push_back({std::move(stream), std::move(heartbeat)});
  if (arrivals_.size() == 1) changed_.NotifyOne();
}

void SessionInbox::Loop() {
  std::deque<Arrival> arrivals;
  while (true) {
    {
      MutexLock lock(&mu_);
      while (arrivals_.empty() && !stopping_) changed_.Wait(&mu_);
      if (arrivals_.empty()) return;
      arrivals.swap(arrivals_);
    }
    for (const Arrival& arrival : arrivals) Take(arrival);
    arrivals.clear();
  }
}

void SessionInbox::Take(const Arrival& arrival) {
  SessionStream& stream = *arrival.stream;
  if (!arrival.heartbeat.has_value()) {
    if (stream.session != 0) coordinator_->CloseSession(stream.session);
    return;
  }
  absl::Status status = CheckMessage(*arrival.heartbeat, RequestLimits());
  if (!status.ok()) {
    // Nothing of it is looked at.
  } else if (stream.session != 0) {
    status = coordinator_->Beat(stream.session, *arrival.heartbeat);
  } else {
    const absl::StatusOr<uint64_t> session =
        coordinator_->OpenSession(*arrival.heartbeat, arrival.stream);
    status = session.status();
    if (session.ok()) stream.session = *session;
  }
  if (status.ok()) {
    stream.ReadOn();
  } else {
    stream.Close(status);
  }
}

void SessionStream::WriteOnLocked() {
  if (reactor_ == nullptr || writing_ || finished_) return;
  if (queue_.empty()) {
    if (!closed_) return;
    finished_ = true;
    reactor_->Finish(ToRpcStatus(status_));
    return;
  }
  reactor_->command_ = std::move(queue_.front());
  queue_.pop_front();
  writing_ = true;
  reactor_->StartWrite(&reactor_->command_);
}

void SessionStream::CloseLocked(const absl::Status& status) {
  if (closed_) return;
  closed_ = true;
  status_ = status;
  if (absl::IsAborted(status)) {
    queue_.clear();
    // A write to a host that is silent ends only with the call.
    if (context_ != nullptr) context_->TryCancel();
  }
  WriteOnLocked();
}

void SessionStream::Push(const v1::Command& command) {
  MutexLock lock(&mu_);
  if (closed_) return;
  queue_.push_back(command);
  if (queue_.size() > kMaxQueued) {
    return CloseLocked(
        absl::AbortedError(absl::StrCat("the worker has not taken ", kMaxQueued, " commands")));
  }
  WriteOnLocked();
}

void SessionStream::Close(const absl::Status& status) {
  MutexLock lock(&mu_);
  CloseLocked(status);
}

void SessionStream::ReadOn() {
  MutexLock lock(&mu_);
  if (reactor_ != nullptr && !closed_) reactor_->StartRead(&reactor_->heartbeat_);
}

void SessionStream::Written(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  if (!ok) {
    queue_.clear();
    CloseLocked(absl::AbortedError("the stream is broken"));
  }
  WriteOnLocked();
}

bool SessionStream::End() {
  MutexLock lock(&mu_);
  return !std::exchange(ended_, true);
}

void SessionStream::Detach() {
  MutexLock lock(&mu_);
  reactor_ = nullptr;
  context_ = nullptr;
  closed_ = true;
  queue_.clear();
}

SessionReactor::SessionReactor(SessionInbox* inbox, grpc::CallbackServerContext* context,
                               std::function<absl::Status()> admitted,
                               absl::Duration first_heartbeat, std::atomic<int>* sessions, int most)
    : inbox_(inbox),
      slot_(sessions, most),
      stream_(std::make_shared<SessionStream>(this, context)),
      admitted_(std::move(admitted)),
      first_heartbeat_(first_heartbeat) {
  if (!slot_.granted()) {
    stream_->Close(absl::ResourceExhaustedError(absl::StrCat(
        "more than ", most, " sessions of workers are open; end workers that are not needed")));
    return;
  }
  // A limit on a wait, not a decision.
  too_late_.Set(absl::ToChronoTime(Clock::Real()->Now() + first_heartbeat),
                [stream = stream_, status = NoHeartbeat(first_heartbeat)](bool is_late) {
                  if (is_late) stream->Close(status);  // else it came
                });
  StartRead(&heartbeat_);
}

void SessionReactor::OnReadDone(bool ok) {
  if (!ok) return End(begun_ ? absl::OkStatus() : NoHeartbeat(first_heartbeat_));
  if (!begun_) too_late_.Cancel();
  begun_ = true;
  if (const absl::Status status = admitted_(); !status.ok()) return End(status);
  inbox_->Put(stream_, std::move(heartbeat_));
}

void SessionReactor::End(const absl::Status& status) {
  if (stream_->End()) inbox_->Put(stream_, std::nullopt);
  stream_->Close(status);
}

void SessionReactor::OnDone() {
  stream_->Detach();
  if (stream_->End()) inbox_->Put(stream_, std::nullopt);
  delete this;
}

}  // namespace tritter
