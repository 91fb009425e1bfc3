// The worker's side of workers.proto: registration, the session with heartbeats and commands, and
// the calls of an epoch.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "access/client_security.h"
#include "common/mutex.h"
#include "tritter/v1/workers.grpc.pb.h"
#include "worker/cancellation.h"
#include "worker/command_handler.h"
#include "worker/coordinator_link.h"

namespace tritter {

// What this process is; constant for its life.
struct WorkerDescription {
  std::string name;
  uint64_t incarnation = 0;
  std::string host;
  std::string device;
  int threads = 1;
  int64_t memory_bytes = 0;
  std::string code_version;
  int64_t pid = 0;
};

// One of several coordinators that share a store, of which one leads and listens.
struct CoordinatorPeer {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
};

// Two threads: one keeps a session open (registers first, and again when the coordinator does not
// know us; reconnects for ever), one sends heartbeats into it. A broken session ends no work: the
// epoch goes on with the plan in hand and the next session tells the coordinator so. Of several
// coordinators the next one is tried when a session breaks or cannot be had, and calls go where the
// session is. Calls of CoordinatorLink are thread-safe; each has a deadline.
class CoordinatorClient : public CoordinatorLink {
 public:
  struct Options {
    std::vector<CoordinatorPeer> coordinators;  // ConnectToCoordinators; one at least
    WorkerDescription worker;
    absl::Duration call_deadline = absl::Seconds(3);
    Backoff reconnect = {absl::Milliseconds(100), absl::Seconds(2)};
    // How long another process may be connected under our name before we give up: one that has died
    // is noticed by the coordinator after 5 s at the latest.
    absl::Duration name_patience = absl::Seconds(8);
    // In which a last heartbeat may arrive when we end.
    absl::Duration farewell = absl::Milliseconds(500);
  };
  explicit CoordinatorClient(Options options);
  ~CoordinatorClient() override;

  // Opens the session; commands go to `handler`, which outlives Stop.
  void Start(CommandHandler* handler);
  // Sends a last heartbeat, closes the session and waits for the threads.
  void Stop();
  // A heartbeat now (the state has changed in a way that should not wait).
  void Nudge();
  // A session is open.
  bool connected() const;
  // Unavailable, with what each of the coordinators last said, where none is.
  absl::Status Health() const;

  absl::Status PublishRendezvous(const EpochId& id, const std::string& address) override;
  absl::StatusOr<PlanAnswer> NextPlan(const EpochId& id, int rank,
                                      const PlanQuestion& question) override;
  absl::Status Report(const EpochId& id, const Progress& progress) override;
  absl::StatusOr<bool> CommitShare(const EpochId& id, const CheckpointOrder& order, int rank,
                                   const std::vector<ManifestFile>& files) override;

 private:
  using Stream = grpc::ClientReaderWriter<v1::Heartbeat, v1::Command>;

  void SessionLoop();
  absl::Status Register();
  absl::Status RunSession();  // until it breaks; why
  v1::WorkerService::Stub* stub() const;
  // A session was not to be had, or broke: goes to the next coordinator. True: all were tried in
  // turn, time to pause.
  bool NextCoordinator();
  void HeartbeatLoop(Stream* stream);
  void Dispatch(const v1::Command& command);
  v1::Heartbeat MakeHeartbeat();

  template <typename Request>
  Request Make(const EpochId& id) const;
  template <typename Response, typename Request, typename Method>
  absl::StatusOr<Response> Call(Method method, const Request& request);
  absl::Status FromCall(const grpc::Status& status);

  const Options options_;
  std::vector<std::unique_ptr<v1::WorkerService::Stub>> stubs_;  // by coordinator
  CommandHandler* handler_ = nullptr;
  Cancellation stop_;

  mutable Mutex mu_;
  CondVar heartbeat_due_;
  size_t at_ GUARDED_BY(mu_) = 0;                      // the coordinator that is spoken to
  size_t failed_ GUARDED_BY(mu_) = 0;                  // coordinators tried since the last pause
  std::vector<std::string> problems_ GUARDED_BY(mu_);  // by coordinator; "": not tried yet
  bool registered_ GUARDED_BY(mu_) = false;
  bool in_session_ GUARDED_BY(mu_) = false;
  bool superseded_ GUARDED_BY(mu_) = false;
  bool name_in_use_ GUARDED_BY(mu_) = false;
  bool ending_ GUARDED_BY(mu_) = false;  // by Stop
  bool nudged_ GUARDED_BY(mu_) = false;
  grpc::ClientContext* session_ GUARDED_BY(mu_) = nullptr;  // for TryCancel
  absl::Duration heartbeat_interval_ GUARDED_BY(mu_) = absl::Seconds(1);
  std::thread thread_;
};

// Pings on an open connection: `timeout` after one that is not answered the connection is given up.
// The coordinator takes pings that are 5 s apart or more.
struct Keepalive {
  absl::Duration time = absl::Seconds(10);
  absl::Duration timeout = absl::Seconds(5);
};

// Reconnects quickly: a restarted coordinator should be back in sight within a second.
std::shared_ptr<grpc::Channel> ConnectToCoordinator(const std::string& address,
                                                    const ClientSecurity& security,
                                                    const Keepalive& keepalive = {});
// Of several, one that has fallen silent is given up sooner: another may lead by then.
std::vector<CoordinatorPeer> ConnectToCoordinators(const std::vector<std::string>& addresses,
                                                   const ClientSecurity& security);

}  // namespace tritter
