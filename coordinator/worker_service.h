// WorkerService over gRPC: translation only. A session costs two threads while it is open; the
// other calls are short.
#pragma once

#include <atomic>

#include "absl/time/time.h"
#include "coordinator/coordinator.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter {

// Thread-safe; the coordinator outlives it and every stream.
class WorkerServiceImpl final : public v1::WorkerService::Service {
 public:
  struct Limits {
    int sessions = 200;  // open at once; well below what the server has of threads
    absl::Duration first_heartbeat = absl::Seconds(10);
  };
  explicit WorkerServiceImpl(Coordinator* coordinator) : WorkerServiceImpl(coordinator, Limits()) {}
  WorkerServiceImpl(Coordinator* coordinator, Limits limits)
      : coordinator_(coordinator), limits_(limits) {}

  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest*,
                        v1::RegisterResponse*) override;
  grpc::Status Session(grpc::ServerContext*,
                       grpc::ServerReaderWriter<v1::Command, v1::Heartbeat>*) override;
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
  std::atomic<int> sessions_{0};
};

}  // namespace tritter
