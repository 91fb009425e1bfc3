// One worker's stream: heartbeats in, commands out.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "coordinator/coordinator.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

class SessionReactor;

// The coordinator's way to the stream; outlives it. Thread-safe; writes are queued and never block. Operations of the stream are
// started outside the lock, because gRPC may answer them on the same thread.
class StreamSink : public CommandSink {
 public:
  explicit StreamSink(SessionReactor* reactor) : reactor_(reactor) {}

  void Push(const v1::Command& command) override;
  void Close(const absl::Status& status) override;
  void WriteDone(bool ok);

 private:
  static constexpr size_t kMaxQueued = 256;  // a worker that takes no commands for so long is ended

  void CloseLocked(const absl::Status& status) REQUIRES(mu_);
  bool TakeFinishLocked() REQUIRES(mu_);  // true: the caller finishes the stream now

  Mutex mu_;
  SessionReactor* const reactor_;  // valid until the stream was finished
  std::deque<v1::Command> queue_ GUARDED_BY(mu_);  // front: being written
  bool writing_ GUARDED_BY(mu_) = false;
  bool closing_ GUARDED_BY(mu_) = false;
  bool finished_ GUARDED_BY(mu_) = false;
  absl::Status status_ GUARDED_BY(mu_);
};

// Owned by gRPC: deletes itself in OnDone. Its callbacks come one at a time for reads, beside those for writes.
class SessionReactor : public grpc::ServerBidiReactor<v1::Heartbeat, v1::Command> {
 public:
  explicit SessionReactor(Coordinator* coordinator);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { sink_->WriteDone(ok); }
  void OnCancel() override;
  void OnDone() override;

 private:
  void Leave();
  void ReadNext();

  Coordinator* const coordinator_;
  const std::shared_ptr<StreamSink> sink_;
  Mutex mu_;
  v1::Heartbeat heartbeat_;  // of the read in progress
  uint64_t session_ GUARDED_BY(mu_) = 0;
  bool left_ GUARDED_BY(mu_) = false;
};

}  // namespace tritter
