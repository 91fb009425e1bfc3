// WorkerService over gRPC: translation only. Sessions need no threads (session_service.h); the
// other calls are short and have gRPC's.
#pragma once

#include <atomic>

#include "absl/time/time.h"
#include "access/rpc_guard_service.h"
#include "coordinator/coordinator.h"
#include "coordinator/session_service.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter {

// Thread-safe; the coordinator outlives it and every stream.
class WorkerServiceImpl final
    : public v1::WorkerService::WithCallbackMethod_Session<v1::WorkerService::Service> {
 public:
  struct Limits {
    int sessions = 2000;  // open at once
    absl::Duration first_heartbeat = absl::Seconds(10);
  };
  explicit WorkerServiceImpl(Coordinator* coordinator) : WorkerServiceImpl(coordinator, Limits()) {}
  WorkerServiceImpl(Coordinator* coordinator, Limits limits, RpcGuard guard = {})
      : coordinator_(coordinator), limits_(limits), guard_(guard), inbox_(coordinator) {}

  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest*,
                        v1::RegisterResponse*) override;
  grpc::ServerBidiReactor<v1::Heartbeat, v1::Command>* Session(
      grpc::CallbackServerContext*) override;
  grpc::Status PublishRendezvous(grpc::ServerContext*, const v1::PublishRendezvousRequest*,
                                 v1::PublishRendezvousResponse*) override;
  grpc::Status NextPlan(grpc::ServerContext*, const v1::NextPlanRequest*,
                        v1::NextPlanResponse*) override;
  grpc::Status Report(grpc::ServerContext*, const v1::ReportRequest*, v1::ReportResponse*) override;
  grpc::Status CommitShare(grpc::ServerContext*, const v1::CommitShareRequest*,
                           v1::CommitShareResponse*) override;

 private:
  Coordinator* const coordinator_;
  const Limits limits_;
  const RpcGuard guard_;
  std::atomic<int> sessions_{0};
  SessionInbox inbox_;
};

}  // namespace tritter
