// RunService over gRPC: translation only.
#pragma once

#include <atomic>

#include "access/rpc_guard_service.h"
#include "common/clock.h"
#include "coordinator/coordinator.h"
#include "tritter/v1/runs.grpc.pb.h"

namespace tritter {

// Thread-safe; what it is given outlives it. A watcher or follower costs a thread while it is open:
// their number is bounded. Every call begins with the guard: who may, and what is on record.
class RunServiceImpl final : public v1::RunService::Service {
 public:
  RunServiceImpl(Coordinator* coordinator, Clock* clock, RpcGuard guard = {})
      : coordinator_(coordinator), clock_(clock), guard_(guard) {}

  grpc::Status SubmitRun(grpc::ServerContext*, const v1::SubmitRunRequest*,
                         v1::SubmitRunResponse*) override;
  grpc::Status ValidateRun(grpc::ServerContext*, const v1::ValidateRunRequest*,
                           v1::ValidateRunResponse*) override;
  grpc::Status GetRun(grpc::ServerContext*, const v1::GetRunRequest*, v1::Run*) override;
  grpc::Status ListRuns(grpc::ServerContext*, const v1::ListRunsRequest*,
                        v1::ListRunsResponse*) override;
  grpc::Status WatchRun(grpc::ServerContext*, const v1::WatchRunRequest*,
                        grpc::ServerWriter<v1::RunUpdate>*) override;
  grpc::Status PauseRun(grpc::ServerContext*, const v1::PauseRunRequest*, v1::Run*) override;
  grpc::Status ResumeRun(grpc::ServerContext*, const v1::ResumeRunRequest*, v1::Run*) override;
  grpc::Status CancelRun(grpc::ServerContext*, const v1::CancelRunRequest*, v1::Run*) override;
  grpc::Status DeleteRun(grpc::ServerContext* context, const v1::DeleteRunRequest* request,
                         v1::DeleteRunResponse* response) override;
  grpc::Status CheckDeletion(grpc::ServerContext* context, const v1::CheckDeletionRequest* request,
                             v1::Run* response) override;
  grpc::Status ListEvents(grpc::ServerContext*, const v1::ListEventsRequest*,
                          v1::ListEventsResponse*) override;
  grpc::Status ListMetrics(grpc::ServerContext*, const v1::ListMetricsRequest*,
                           v1::ListMetricsResponse*) override;
  grpc::Status ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                               v1::ListCheckpointsResponse*) override;
  grpc::Status ListEpochs(grpc::ServerContext*, const v1::ListEpochsRequest*,
                          v1::ListEpochsResponse*) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse*) override;
  grpc::Status StreamLogs(grpc::ServerContext*, const v1::StreamLogsRequest*,
                          grpc::ServerWriter<v1::LogLine>*) override;

 private:
  // A call that changes the run it names, with the run as its answer.
  template <typename Request, typename Work>
  grpc::Status Operate(grpc::ServerContext* context, absl::string_view call, const Request& request,
                       v1::Run* response, Work work);

  Coordinator* const coordinator_;
  Clock* const clock_;
  const RpcGuard guard_;
  std::atomic<int> streams_{0};
};

}  // namespace tritter
