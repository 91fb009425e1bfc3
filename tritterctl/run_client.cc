#include "tritterctl/run_client.h"

#include "tritter/v1/runs.grpc.pb.h"
#include "tritterctl/rpc_client.h"

namespace tritter {

struct RunClient::Impl {
  explicit Impl(const std::string& address)
      : address(address),
        who(absl::StrCat("coordinator at ", address)),
        stub(v1::RunService::NewStub(MakeChannel(address))) {}

  // A coordinator that was away is asked over a new channel: the old one pauses for seconds between
  // its attempts, and the callers have pauses of their own.
  absl::Status Noted(absl::Status status) {
    if (absl::IsUnavailable(status)) stub = v1::RunService::NewStub(MakeChannel(address));
    return status;
  }

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (v1::RunService::Stub::*method)(grpc::ClientContext*,
                                                                             const Request&,
                                                                             Response*),
                                const Request& request) {
    absl::StatusOr<Response> answer =
        CallUnary<Response>(who, [&](grpc::ClientContext* context, Response* response) {
          return (stub.get()->*method)(context, request, response);
        });
    if (!answer.ok()) return Noted(answer.status());
    return answer;
  }

  const std::string address, who;
  std::unique_ptr<v1::RunService::Stub> stub;
};

RunClient::RunClient(const std::string& address) : impl_(std::make_unique<Impl>(address)) {}
RunClient::~RunClient() = default;

absl::StatusOr<v1::SubmitRunResponse> RunClient::SubmitRun(const v1::SubmitRunRequest& request) {
  return impl_->Call(&v1::RunService::Stub::SubmitRun, request);
}

absl::StatusOr<v1::ValidateRunResponse> RunClient::ValidateRun(
    const v1::ValidateRunRequest& request) {
  return impl_->Call(&v1::RunService::Stub::ValidateRun, request);
}

absl::StatusOr<v1::Run> RunClient::GetRun(const std::string& run) {
  v1::GetRunRequest request;
  request.set_run(run);
  return impl_->Call(&v1::RunService::Stub::GetRun, request);
}

absl::StatusOr<v1::ListRunsResponse> RunClient::ListRuns(int limit) {
  v1::ListRunsRequest request;
  request.set_limit(limit);
  return impl_->Call(&v1::RunService::Stub::ListRuns, request);
}

absl::StatusOr<v1::Run> RunClient::PauseRun(const std::string& run) {
  v1::PauseRunRequest request;
  request.set_run(run);
  return impl_->Call(&v1::RunService::Stub::PauseRun, request);
}

absl::StatusOr<v1::Run> RunClient::ResumeRun(const std::string& run) {
  v1::ResumeRunRequest request;
  request.set_run(run);
  return impl_->Call(&v1::RunService::Stub::ResumeRun, request);
}

absl::StatusOr<v1::Run> RunClient::CancelRun(const std::string& run, bool now) {
  v1::CancelRunRequest request;
  request.set_run(run);
  request.set_now(now);
  return impl_->Call(&v1::RunService::Stub::CancelRun, request);
}

absl::StatusOr<v1::ListEventsResponse> RunClient::ListEvents(const v1::ListEventsRequest& request) {
  return impl_->Call(&v1::RunService::Stub::ListEvents, request);
}

absl::StatusOr<v1::ListCheckpointsResponse> RunClient::ListCheckpoints(const std::string& run) {
  v1::ListCheckpointsRequest request;
  request.set_run(run);
  return impl_->Call(&v1::RunService::Stub::ListCheckpoints, request);
}

absl::StatusOr<v1::ListWorkersResponse> RunClient::ListWorkers() {
  return impl_->Call(&v1::RunService::Stub::ListWorkers, v1::ListWorkersRequest());
}

absl::Status RunClient::WatchRun(const std::string& run,
                                 const std::function<void(const v1::RunUpdate&)>& on_update,
                                 const std::function<bool()>& tick) {
  v1::WatchRunRequest request;
  request.set_run(run);
  grpc::ClientContext context;
  return impl_->Noted(ReadStream<v1::RunUpdate>(
      &context, impl_->who,
      [&](grpc::ClientContext* c, grpc::CompletionQueue* q, void* tag) {
        return impl_->stub->AsyncWatchRun(c, request, q, tag);
      },
      on_update, tick));
}

absl::Status RunClient::StreamLogs(const v1::StreamLogsRequest& request,
                                   const std::function<void(const v1::LogLine&)>& on_line,
                                   const std::function<bool()>& tick) {
  grpc::ClientContext context;
  return impl_->Noted(ReadStream<v1::LogLine>(
      &context, impl_->who,
      [&](grpc::ClientContext* c, grpc::CompletionQueue* q, void* tag) {
        return impl_->stub->AsyncStreamLogs(c, request, q, tag);
      },
      on_line, tick));
}

}  // namespace tritter
