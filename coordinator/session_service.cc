#include "coordinator/session_service.h"

#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "coordinator/rpc_error_service.h"

namespace tritter {

void StreamSink::Push(const v1::Command& command) {
  MutexLock lock(&mu_);
  if (closed_) return;
  if (queue_.size() >= kMaxQueued) {
    CloseLocked(absl::ResourceExhaustedError(
        absl::StrCat("the worker has not taken ", kMaxQueued, " commands")));
    CancelLocked();
    return;
  }
  queue_.push_back(command);
  changed_.NotifyAll();
}

void StreamSink::CloseLocked(const absl::Status& status) {
  if (closed_) return;
  closed_ = true;
  status_ = status;
  changed_.NotifyAll();
}

void StreamSink::CancelLocked() {
  if (context_ != nullptr) context_->TryCancel();
}

void StreamSink::Close(const absl::Status& status) {
  MutexLock lock(&mu_);
  CloseLocked(status);
  if (absl::IsAborted(status)) CancelLocked();  // a silent worker: the writer may be stuck
}

bool StreamSink::Next(v1::Command* command) {
  MutexLock lock(&mu_);
  while (queue_.empty() && !closed_) changed_.Wait(&mu_);
  if (queue_.empty()) {
    CancelLocked();  // the reader may still wait for a heartbeat
    return false;
  }
  *command = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void StreamSink::Begin() {
  MutexLock lock(&mu_);
  begun_ = true;
  changed_.NotifyAll();
}

bool StreamSink::AwaitBegin(absl::Duration limit) {
  Clock* clock = Clock::Real();  // a limit on a wait, not a decision
  const absl::Duration until = clock->Monotonic() + limit;
  MutexLock lock(&mu_);
  while (!begun_ && !closed_) {
    const absl::Duration left = until - clock->Monotonic();
    if (left <= absl::ZeroDuration()) {
      CancelLocked();
      return false;
    }
    changed_.WaitFor(&mu_, left);
  }
  return begun_;
}

absl::Status StreamSink::Leave(const absl::Status& status) {
  MutexLock lock(&mu_);
  context_ = nullptr;
  CloseLocked(status);
  return status_;
}

grpc::Status RunSession(Coordinator* coordinator, grpc::ServerContext* context,
                        grpc::ServerReaderWriter<v1::Command, v1::Heartbeat>* stream,
                        absl::Duration first_heartbeat) {
  const auto sink = std::make_shared<StreamSink>(context);
  std::thread writer([&] {
    if (!sink->AwaitBegin(first_heartbeat)) return;
    v1::Command command;
    while (sink->Next(&command)) {
      if (!stream->Write(command)) sink->Close(absl::AbortedError("the stream is broken"));
    }
  });
  const auto end = [&](const absl::Status& status) {
    const absl::Status said = sink->Leave(status);
    writer.join();
    return ToRpcStatus(said);
  };
  v1::Heartbeat heartbeat;
  if (!stream->Read(&heartbeat)) {
    return end(absl::InvalidArgumentError(absl::StrCat("a session begins with a heartbeat, within ",
                                                       absl::FormatDuration(first_heartbeat),
                                                       " of the call")));
  }
  sink->Begin();
  const absl::StatusOr<uint64_t> session = coordinator->OpenSession(heartbeat, sink);
  if (!session.ok()) return end(session.status());
  absl::Status status;
  while (status.ok() && stream->Read(&heartbeat)) status = coordinator->Beat(*session, heartbeat);
  coordinator->CloseSession(*session);
  return end(status);
}

}  // namespace tritter
