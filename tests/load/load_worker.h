// A worker as the coordinator sees one, without the training: registers, holds a session, beats
// once a second, asks for plans, reports steps at a fixed speed, writes shares of checkpoints.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/mutex.h"
#include "tests/load/load_counts.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter::load {

struct LoadWorkerOptions {
  std::string address;  // of the coordinator
  std::string name;
  uint64_t incarnation = 1;
  double step_seconds = 0.5;
  // Never trains. Its heartbeats name an epoch that does not exist, which the coordinator answers
  // with a command: so a heartbeat's way to the coordinator's state and back is timed.
  bool probe = false;
  Env* env = nullptr;
  Clock* clock = nullptr;
  LoadCounts* counts = nullptr;
};

// Names of calls in LoadCounts.
inline constexpr char kRegisterCall[] = "register";
inline constexpr char kHeartbeatCall[] = "heartbeat";
inline constexpr char kPlanCall[] = "plan";
inline constexpr char kReportCall[] = "report";
inline constexpr char kShareCall[] = "share";
inline constexpr char kRendezvousCall[] = "rendezvous";
inline constexpr char kSessionCall[] = "session";

// Every call is asynchronous and one of a kind is on its way at a time. No thread of its own:
// gRPC's threads take the answers, the owner calls Turn once a second. Stop before it is destroyed.
class LoadWorker : private grpc::ClientBidiReactor<v1::Heartbeat, v1::Command> {
 public:
  explicit LoadWorker(const LoadWorkerOptions& options);
  ~LoadWorker() override;

  void Start();          // registers, then opens the session
  void Turn();           // a heartbeat, and what is due of reports, shares and plans
  void Stop();           // ends the session
  void AwaitStopped();   // until nothing of it is on its way
  bool connected();      // the session is open
  bool training();       // has a plan
  int64_t Unanswered();  // probes

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  template <typename Request>
  Request Make() REQUIRES(mu_);  // with worker, run and epoch
  // `start` begins the call; `done` runs with the lock held once it was answered, unless the worker
  // is in another epoch by then. Failures and refusals are counted, except what is stale.
  template <typename Response, typename Request, typename Start>
  void Call(const char* name, Request request, Start start,
            std::function<void(const absl::Status&, const Response&)> done) REQUIRES(mu_);

  void OpenSession() REQUIRES(mu_);
  void CloseLocked() REQUIRES(mu_);  // no more heartbeats
  void SendHeartbeat() REQUIRES(mu_);
  void Take(const v1::Command& command) REQUIRES(mu_);
  void Leave() REQUIRES(mu_);
  void Advance(absl::Duration now) REQUIRES(mu_);
  void AskForPlan(int64_t from) REQUIRES(mu_);
  void Begin(const v1::Plan& plan, absl::Duration at) REQUIRES(mu_);
  void SendReport() REQUIRES(mu_);
  void SendShare() REQUIRES(mu_);
  absl::Status WriteShare(const v1::CheckpointOrder& order, v1::CommitShareRequest* request)
      REQUIRES(mu_);

  const LoadWorkerOptions options_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  grpc::ClientContext context_;  // of the session
  Mutex mu_;
  CondVar stopped_;
  v1::Command command_;      // being read
  v1::Heartbeat heartbeat_;  // being written
  bool open_ GUARDED_BY(mu_) = false, begun_ GUARDED_BY(mu_) = false;
  bool writing_ GUARDED_BY(mu_) = false, again_ GUARDED_BY(mu_) = false,
                stopping_ GUARDED_BY(mu_) = false;
  int calls_ GUARDED_BY(mu_) = 0;  // on their way
  // The epoch it is in.
  std::string run_id_ GUARDED_BY(mu_), run_dir_ GUARDED_BY(mu_);
  uint64_t epoch_ GUARDED_BY(mu_) = 0;
  int rank_ GUARDED_BY(mu_) = 0, world_ GUARDED_BY(mu_) = 1;
  int64_t step_ GUARDED_BY(mu_) = 0;
  std::optional<v1::Plan> plan_ GUARDED_BY(mu_), next_plan_ GUARDED_BY(mu_);
  absl::Duration plan_began_ GUARDED_BY(mu_);
  bool asking_ GUARDED_BY(mu_) = false,
               reporting_ GUARDED_BY(mu_) = false, sharing_ GUARDED_BY(mu_) = false;
  int64_t reported_ GUARDED_BY(mu_) = 0;  // steps that a report was taken of
  std::vector<v1::StepMetrics> metrics_ GUARDED_BY(mu_);
  std::vector<v1::EvaluationPoint> evaluations_ GUARDED_BY(mu_);
  std::vector<std::string> lines_ GUARDED_BY(mu_);
  std::vector<v1::CheckpointOrder> orders_ GUARDED_BY(mu_);  // due, not written yet
  int64_t next_request_ GUARDED_BY(mu_) = 1;
  uint64_t last_probe_ GUARDED_BY(mu_) = 0;
  std::map<uint64_t, absl::Duration> probes_ GUARDED_BY(mu_);  // not answered yet: when sent
};

}  // namespace tritter::load
