// Workers' streams: heartbeats in, commands out. No stream has a thread of its own: gRPC's few
// threads hand heartbeats to one thread here, which may wait for the coordinator, and a command is
// written when it is pushed.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "coordinator/coordinator.h"
#include "coordinator/stream_slot.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter {

class SessionStream;

// What has come in on all streams and waits for the coordinator: of each stream at most one
// heartbeat, and its end. Thread-safe; owns one thread. Outlives the streams.
class SessionInbox {
 public:
  explicit SessionInbox(Coordinator* coordinator);
  ~SessionInbox();  // takes what is left

  // Never waits. Without a heartbeat: the stream has ended.
  void Put(std::shared_ptr<SessionStream> stream, std::optional<v1::Heartbeat> heartbeat);

 private:
  struct Arrival {
    std::shared_ptr<SessionStream> stream;
    std::optional<v1::Heartbeat> heartbeat;
  };
  void Loop();
  void Take(const Arrival& arrival);

  Coordinator* const coordinator_;
  Mutex mu_;
  CondVar changed_;
  std::deque<Arrival> arrivals_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

class SessionReactor;

// One stream, as the coordinator and the inbox see it: it outlives the call for as long as they
// hold it. Thread-safe; never blocks.
class SessionStream : public CommandSink {
 public:
  SessionStream(SessionReactor* reactor, grpc::CallbackServerContext* context)
      : reactor_(reactor), context_(context) {}

  void Push(const v1::Command& command) override;
  // What was pushed before is still written, unless the status is Aborted: that worker is silent,
  // or has another stream.
  void Close(const absl::Status& status) override;

  // The inbox: the heartbeat was taken, the next may be read.
  void ReadOn();
  uint64_t session = 0;  // the coordinator's id, 0 before the first heartbeat; the inbox's alone

  // The call: a write has ended; nothing more comes in (false: that is known already); it is over.
  void Written(bool ok);
  bool End();
  void Detach();

 private:
  static constexpr size_t kMaxQueued = 256;  // a worker that takes no commands for so long is ended

  void CloseLocked(const absl::Status& status) REQUIRES(mu_);
  void WriteOnLocked() REQUIRES(mu_);  // the next command, or the end of the call

  Mutex mu_;
  SessionReactor* reactor_ GUARDED_BY(mu_);               // null once the call is over
  grpc::CallbackServerContext* context_ GUARDED_BY(mu_);  // as long as reactor_
  std::deque<v1::Command> queue_ GUARDED_BY(mu_);
  bool writing_ GUARDED_BY(mu_) = false, finished_ GUARDED_BY(mu_) = false;
  bool ended_ GUARDED_BY(mu_) = false;
  bool closed_ GUARDED_BY(mu_) = false;
  absl::Status status_ GUARDED_BY(mu_);  // once closed_
};

// gRPC's side of a stream. Deletes itself when the call is over.
class SessionReactor : public grpc::ServerBidiReactor<v1::Heartbeat, v1::Command> {
 public:
  // The first heartbeat must come within `first_heartbeat`. At most `most` streams are counted in
  // `sessions`; the call is refused when this is one more. `admitted` is asked with every
  // heartbeat: the stream ends with its error, when the worker's token is withdrawn.
  SessionReactor(SessionInbox* inbox, grpc::CallbackServerContext* context,
                 std::function<absl::Status()> admitted, absl::Duration first_heartbeat,
                 std::atomic<int>* sessions, int most);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { stream_->Written(ok); }
  void OnCancel() override { End(absl::CancelledError("the stream is broken")); }
  void OnDone() override;

 private:
  friend class SessionStream;
  void End(const absl::Status& status);

  SessionInbox* const inbox_;
  const StreamSlot slot_;
  const std::shared_ptr<SessionStream> stream_;
  const std::function<absl::Status()> admitted_;
  const absl::Duration first_heartbeat_;
  grpc::Alarm too_late_;     // for the first heartbeat
  bool begun_ = false;       // of reads, one of which is on its way at a time
  v1::Heartbeat heartbeat_;  // being read
  v1::Command command_;      // being written
};

}  // namespace tritter
