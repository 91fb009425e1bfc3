#include "coordinator/session_service.h"

#include "absl/strings/str_cat.h"
#include "coordinator/rpc_error_service.h"

namespace tritter {

void StreamSink::Push(const v1::Command& command) {
  const v1::Command* next = nullptr;
  bool finish = false;
  {
    MutexLock lock(&mu_);
    if (closing_) return;
    if (queue_.size() >= kMaxQueued) {
      CloseLocked(absl::ResourceExhaustedError(absl::StrCat("the worker has not taken ", kMaxQueued, " commands")));
      finish = TakeFinishLocked();
    } else {
      queue_.push_back(command);
      if (!writing_) {
        writing_ = true;
        next = &queue_.front();
      }
    }
  }
  if (next != nullptr) reactor_->StartWrite(next);
  if (finish) reactor_->Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many commands waiting"));
}

void StreamSink::CloseLocked(const absl::Status& status) {
  if (closing_) return;
  closing_ = true;
  status_ = status;
}

bool StreamSink::TakeFinishLocked() {
  if (!closing_ || writing_ || finished_) return false;
  finished_ = true;
  return true;
}

void StreamSink::Close(const absl::Status& status) {
  grpc::Status rpc;
  {
    MutexLock lock(&mu_);
    CloseLocked(status);
    if (!TakeFinishLocked()) return;  // the write in progress comes first
    rpc = ToRpcStatus(status_);
  }
  reactor_->Finish(rpc);
}

void StreamSink::WriteDone(bool ok) {
  const v1::Command* next = nullptr;
  grpc::Status rpc;
  {
    MutexLock lock(&mu_);
    queue_.pop_front();
    if (!ok) {
      CloseLocked(absl::UnavailableError("the stream is broken"));
      queue_.clear();
    }
    if (!queue_.empty()) {  // also when closing: what was said before the end is still sent
      next = &queue_.front();
    } else {
      writing_ = false;
      if (!TakeFinishLocked()) return;
      rpc = ToRpcStatus(status_);
    }
  }
  if (next != nullptr) {
    reactor_->StartWrite(next);
  } else {
    reactor_->Finish(rpc);
  }
}

SessionReactor::SessionReactor(Coordinator* coordinator)
    : coordinator_(coordinator), sink_(std::make_shared<StreamSink>(this)) {
  ReadNext();
}

void SessionReactor::ReadNext() {
  {
    MutexLock lock(&mu_);  // what was written before is visible to the thread of the next callback
  }
  StartRead(&heartbeat_);
}

void SessionReactor::OnReadDone(bool ok) {
  if (!ok) {
    Leave();
    sink_->Close(absl::OkStatus());
    return;
  }
  uint64_t session = 0;
  bool left = false;
  {
    MutexLock lock(&mu_);
    session = session_;
    left = left_;
  }
  absl::Status status;
  if (session != 0 || left) {
    status = left ? absl::AbortedError("the session is closed") : coordinator_->Beat(session, heartbeat_);
  } else {
    absl::StatusOr<uint64_t> opened = coordinator_->OpenSession(heartbeat_, sink_);
    status = opened.status();
    if (opened.ok()) {
      {
        MutexLock lock(&mu_);
        session_ = *opened;
        left = left_;
      }
      if (left) coordinator_->CloseSession(*opened);  // cancelled meanwhile
    }
  }
  if (!status.ok()) {
    Leave();
    sink_->Close(status);
    return;
  }
  ReadNext();
}

void SessionReactor::OnCancel() {
  Leave();
  sink_->Close(absl::CancelledError("the worker ended the stream"));
}

void SessionReactor::OnDone() {
  Leave();
  delete this;
}

void SessionReactor::Leave() {
  uint64_t session = 0;
  {
    MutexLock lock(&mu_);
    if (left_) return;
    left_ = true;
    session = session_;
  }
  if (session != 0) coordinator_->CloseSession(session);
}

}  // namespace tritter
