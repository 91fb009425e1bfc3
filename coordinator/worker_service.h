// WorkerService over gRPC: translation only. A session costs two threads while it is open; the
// other calls are short.
#pragma once

#include "coordinator/coordinator.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter {

// Thread-safe; the coordinator outlives it and every stream.
class WorkerServiceImpl final : public v1::WorkerService::Service {
 public:
  explicit WorkerServiceImpl(Coordinator* coordinator) : coordinator_(coordinator) {}

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
};

}  // namespace tritter
