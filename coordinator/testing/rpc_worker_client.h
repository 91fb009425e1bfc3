// WorkerApi over gRPC.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "coordinator/testing/fake_agent.h"
#include "tritter/v1/workers.grpc.pb.h"

namespace tritter {

absl::Status FromRpcStatus(const grpc::Status& status);

// Used from one thread; a thread of its own reads commands while a session is open.
class RpcWorkerApi : public WorkerApi {
 public:
  explicit RpcWorkerApi(const std::string& address);
  ~RpcWorkerApi() override { BreakSession(); }
  absl::Status Register(const v1::RegisterRequest& request) override;
  absl::Status OpenSession(const v1::Heartbeat& first) override;
  absl::Status Beat(const v1::Heartbeat& heartbeat) override;
  void BreakSession() override;
  std::vector<v1::Command> TakeCommands() override;
  absl::Status PublishRendezvous(const v1::PublishRendezvousRequest& request) override;
  absl::StatusOr<v1::NextPlanResponse> NextPlan(const v1::NextPlanRequest& request) override;
  absl::Status Report(const v1::ReportRequest& request) override;
  absl::StatusOr<v1::CommitShareResponse> CommitShare(
      const v1::CommitShareRequest& request) override;

 private:
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::Heartbeat, v1::Command>> stream_;
  std::thread reader_;
  Mutex mu_;
  std::vector<v1::Command> commands_ GUARDED_BY(mu_);
};

}  // namespace tritter
