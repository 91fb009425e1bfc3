#include "tritterctl/run_client.h"

#include "common/random.h"
#include "tritter/v1/runs.grpc.pb.h"
#include "tritterctl/rpc_client.h"

namespace tritter {

struct RunClient::Impl {
  Impl(const std::string& coordinators, const ClientSecurity& security)
      : coordinators(coordinators, security) {}

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (v1::RunService::Stub::*method)(grpc::ClientContext*,
                                                                             const Request&,
                                                                             Response*),
                                const Request& request) {
    return coordinators.Ask(
        [&](const std::shared_ptr<grpc::Channel>& channel, const std::string& who) {
          const auto stub = v1::RunService::NewStub(channel);
          return CallUnary<Response>(who, [&](grpc::ClientContext* context, Response* response) {
            return (stub.get()->*method)(context, request, response);
          });
        });
  }

  // Reads a stream. One that breaks after its first message is not begun again here: who reads it
  // knows from where.
  template <typename Message, typename Request, typename Method>
  absl::Status Stream(Method method, const Request& request,
                      const std::function<void(const Message&)>& on_message,
                      const std::function<bool()>& tick) {
    absl::Status broken;
    const absl::Status status = coordinators.Ask(
        [&](const std::shared_ptr<grpc::Channel>& channel, const std::string& who) {
          const auto stub = v1::RunService::NewStub(channel);
          grpc::ClientContext context;
          bool begun = false;
          absl::Status end = ReadStream<Message>(
              &context, who,
              [&](grpc::ClientContext* c, grpc::CompletionQueue* q, void* tag) {
                return (stub.get()->*method)(c, request, q, tag);
              },
              [&](const Message& message) {
                begun = true;
                on_message(message);
              },
              tick);
          if (!begun || !absl::IsUnavailable(end)) return end;
          broken = std::move(end);
          return absl::OkStatus();
        });
    if (!broken.ok()) coordinators.Next();
    return broken.ok() ? status : broken;
  }

  // For calls with an id of their own: an answer that was lost on the way is asked for once more.
  template <typename Method, typename Request>
  auto Change(Method method, const Request& request) {
    auto answer = Call(method, request);
    if (absl::IsUnavailable(answer.status())) answer = Call(method, request);
    return answer;
  }

  Coordinators coordinators;
};

RunClient::RunClient(const std::string& coordinators, const ClientSecurity& security)
    : impl_(std::make_unique<Impl>(coordinators, security)) {}
RunClient::~RunClient() = default;

absl::StatusOr<v1::SubmitRunResponse> RunClient::SubmitRun(const v1::SubmitRunRequest& request) {
  v1::SubmitRunRequest keyed = request;
  if (keyed.idempotency_key().empty()) keyed.set_idempotency_key(RandomId("s"));
  absl::StatusOr<v1::SubmitRunResponse> answer =
      impl_->Change(&v1::RunService::Stub::SubmitRun, keyed);
  // To whoever gave no key the answer to a second attempt is no repeat.
  if (answer.ok() && request.idempotency_key().empty()) answer->set_repeated(false);
  return answer;
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

absl::StatusOr<v1::Run> RunClient::GetRunToChange(const std::string& run) {
  v1::GetRunRequest request;
  request.set_run(run);
  request.set_for_change(true);
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
  request.set_request_id(RandomId("q"));
  return impl_->Change(&v1::RunService::Stub::PauseRun, request);
}

absl::StatusOr<v1::Run> RunClient::ResumeRun(const std::string& run) {
  v1::ResumeRunRequest request;
  request.set_run(run);
  request.set_request_id(RandomId("q"));
  return impl_->Change(&v1::RunService::Stub::ResumeRun, request);
}

absl::StatusOr<v1::Run> RunClient::CancelRun(const std::string& run, bool now) {
  v1::CancelRunRequest request;
  request.set_run(run);
  request.set_now(now);
  request.set_request_id(RandomId("q"));
  return impl_->Change(&v1::RunService::Stub::CancelRun, request);
}

absl::StatusOr<v1::DeleteRunResponse> RunClient::DeleteRun(const std::string& run) {
  v1::DeleteRunRequest request;
  request.set_run(run);
  request.set_request_id(RandomId("q"));
  return impl_->Change(&v1::RunService::Stub::DeleteRun, request);
}

absl::StatusOr<v1::Run> RunClient::CheckDeletion(const std::string& run) {
  v1::CheckDeletionRequest request;
  request.set_run(run);
  return impl_->Call(&v1::RunService::Stub::CheckDeletion, request);
}

absl::StatusOr<v1::ListEventsResponse> RunClient::ListEvents(const v1::ListEventsRequest& request) {
  return impl_->Call(&v1::RunService::Stub::ListEvents, request);
}

absl::StatusOr<v1::ListCheckpointsResponse> RunClient::ListCheckpoints(const std::string& run) {
  v1::ListCheckpointsRequest request;
  request.set_run(run);
  return impl_->Call(&v1::RunService::Stub::ListCheckpoints, request);
}

absl::StatusOr<v1::ListEpochsResponse> RunClient::ListEpochs(const std::string& run, int limit) {
  v1::ListEpochsRequest request;
  request.set_run(run);
  request.set_limit(limit);
  return impl_->Call(&v1::RunService::Stub::ListEpochs, request);
}

absl::StatusOr<v1::ListWorkersResponse> RunClient::ListWorkers() {
  return impl_->Call(&v1::RunService::Stub::ListWorkers, v1::ListWorkersRequest());
}

absl::Status RunClient::WatchRun(const std::string& run,
                                 const std::function<void(const v1::RunUpdate&)>& on_update,
                                 const std::function<bool()>& tick) {
  v1::WatchRunRequest request;
  request.set_run(run);
  return impl_->Stream<v1::RunUpdate>(&v1::RunService::Stub::AsyncWatchRun, request, on_update,
                                      tick);
}

absl::Status RunClient::StreamLogs(const v1::StreamLogsRequest& request,
                                   const std::function<void(const v1::LogLine&)>& on_line,
                                   const std::function<bool()>& tick) {
  return impl_->Stream<v1::LogLine>(&v1::RunService::Stub::AsyncStreamLogs, request, on_line, tick);
}

}  // namespace tritter
