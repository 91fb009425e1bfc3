// One worker's stream: heartbeats in, commands out.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include <deque>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "coordinator/coordinator.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter {

// Commands on their way to one stream. Shared by the coordinator, the thread that reads the stream
// and the one that writes it.
class StreamSink : public CommandSink {
 public:
  explicit StreamSink(grpc::ServerContext* context) : context_(context) {}

  void Push(const v1::Command& command) override;
  // What was pushed before is still written, unless the worker has stopped taking anything.
  void Close(const absl::Status& status) override;

  // The writer: waits for the next command; false when the stream is closed and nothing is left.
  bool Next(v1::Command* command);
  // The reader: the first heartbeat is here.
  void Begin();
  // The writer: waits for Begin; ends the call and gives false when it has not come within `limit`.
  bool AwaitBegin(absl::Duration limit);
  // The reader: no more heartbeats are taken, the call is about to return with the result.
  absl::Status Leave(const absl::Status& status);

 private:
  static constexpr size_t kMaxQueued = 256;  // a worker that takes no commands for so long is ended

  void CloseLocked(const absl::Status& status) REQUIRES(mu_);
  void CancelLocked() REQUIRES(mu_);  // unblocks reader and writer

  Mutex mu_;
  CondVar changed_;
  std::deque<v1::Command> queue_ GUARDED_BY(mu_);
  grpc::ServerContext* context_ GUARDED_BY(mu_);  // null once the call returns
  bool begun_ GUARDED_BY(mu_) = false;
  bool closed_ GUARDED_BY(mu_) = false;
  absl::Status status_ GUARDED_BY(mu_);
};

// Runs until the stream ends: on the calling thread for heartbeats, on one of its own for commands.
// The first heartbeat must come within `first_heartbeat`.
grpc::Status RunSession(Coordinator* coordinator, grpc::ServerContext* context,
                        grpc::ServerReaderWriter<v1::Command, v1::Heartbeat>* stream,
                        absl::Duration first_heartbeat);

}  // namespace tritter
