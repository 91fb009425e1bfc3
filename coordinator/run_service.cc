#include "coordinator/run_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc_error_service.h"
#include "coordinator/stream_slot.h"

namespace tritter {
namespace {

constexpr int kMaxStreams = 64;
constexpr absl::Duration kCheckCancelled = absl::Milliseconds(250);
constexpr absl::Duration kUpdateGap =
    absl::Milliseconds(50);  // many changes in a row become one update
constexpr absl::Duration kLogPoll = absl::Milliseconds(250);

grpc::Status TooManyStreams() {
  return ToRpcStatus(absl::ResourceExhaustedError(
      absl::StrCat("more than ", kMaxStreams, " watchers; try again later")));
}

template <typename T>
grpc::Status Answer(absl::StatusOr<T> value, T* response) {
  if (!value.ok()) return ToRpcStatus(value.status());
  *response = *std::move(value);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status RunServiceImpl::SubmitRun(grpc::ServerContext* context,
                                       const v1::SubmitRunRequest* request,
                                       v1::SubmitRunResponse* response) {
  return guard_.Change(*context, Role::kSubmit, "SubmitRun", *request, "", [&](std::string* run) {
    grpc::Status status = Answer(coordinator_->Submit(*request), response);
    *run = response->run().run_id();
    return status;
  });
}

grpc::Status RunServiceImpl::ValidateRun(grpc::ServerContext* context,
                                         const v1::ValidateRunRequest* request,
                                         v1::ValidateRunResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kSubmit, "ValidateRun", request));
  return Answer(coordinator_->Validate(*request), response);
}

grpc::Status RunServiceImpl::GetRun(grpc::ServerContext* context, const v1::GetRunRequest* request,
                                    v1::Run* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "GetRun", request));
  return Answer(coordinator_->Get(request->run(), request->for_change()), response);
}

grpc::Status RunServiceImpl::ListRuns(grpc::ServerContext* context,
                                      const v1::ListRunsRequest* request,
                                      v1::ListRunsResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "ListRuns", request));
  *response = coordinator_->List(request->limit());
  return grpc::Status::OK;
}

grpc::Status RunServiceImpl::WatchRun(grpc::ServerContext* context,
                                      const v1::WatchRunRequest* request,
                                      grpc::ServerWriter<v1::RunUpdate>* writer) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "WatchRun", request));
  const StreamSlot slot(&streams_, kMaxStreams);
  if (!slot.granted()) return TooManyStreams();
  // The run it is now, even when a newer one of that name comes.
  absl::StatusOr<v1::Run> run = coordinator_->Get(request->run());
  if (!run.ok()) return ToRpcStatus(run.status());
  WatchCursor cursor;
  while (!context->IsCancelled()) {
    v1::RunUpdate update;
    bool ended = false;
    absl::StatusOr<bool> changed =
        coordinator_->Watch(run->run_id(), kCheckCancelled, &cursor, &update, &ended);
    if (!changed.ok()) return ToRpcStatus(changed.status());
    if (*changed && !writer->Write(update)) break;
    if (ended) return grpc::Status::OK;
    if (*changed) clock_->Sleep(kUpdateGap);
    RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "WatchRun"));  // a withdrawn token
  }
  return grpc::Status::CANCELLED;
}

template <typename Request, typename Work>
grpc::Status RunServiceImpl::Operate(grpc::ServerContext* context, absl::string_view call,
                                     const Request& request, v1::Run* response, Work work) {
  return guard_.Change(*context, Role::kOperate, call, request, request.run(),
                       [&](std::string* run) {
                         grpc::Status status = Answer(work(), response);
                         if (status.ok()) *run = response->run_id();
                         return status;
                       });
}

grpc::Status RunServiceImpl::PauseRun(grpc::ServerContext* context,
                                      const v1::PauseRunRequest* request, v1::Run* response) {
  return Operate(context, "PauseRun", *request, response,
                 [&] { return coordinator_->Pause(request->run(), request->request_id()); });
}

grpc::Status RunServiceImpl::ResumeRun(grpc::ServerContext* context,
                                       const v1::ResumeRunRequest* request, v1::Run* response) {
  return Operate(context, "ResumeRun", *request, response,
                 [&] { return coordinator_->Resume(request->run(), request->request_id()); });
}

grpc::Status RunServiceImpl::CancelRun(grpc::ServerContext* context,
                                       const v1::CancelRunRequest* request, v1::Run* response) {
  return Operate(context, "CancelRun", *request, response, [&] {
    return coordinator_->Cancel(request->run(), request->now(), request->request_id());
  });
}

grpc::Status RunServiceImpl::DeleteRun(grpc::ServerContext* context,
                                       const v1::DeleteRunRequest* request,
                                       v1::DeleteRunResponse* response) {
  return guard_.Change(
      *context, Role::kOperate, "DeleteRun", *request, request->run(), [&](std::string* run) {
        grpc::Status status =
            Answer(coordinator_->Delete(request->run(), request->request_id()), response);
        if (status.ok()) *run = response->run_id();
        return status;
      });
}

grpc::Status RunServiceImpl::CheckDeletion(grpc::ServerContext* context,
                                           const v1::CheckDeletionRequest* request,
                                           v1::Run* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kOperate, "CheckDeletion", request));
  return Answer(coordinator_->CheckDeletion(request->run()), response);
}

grpc::Status RunServiceImpl::ListEvents(grpc::ServerContext* context,
                                        const v1::ListEventsRequest* request,
                                        v1::ListEventsResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "ListEvents", request));
  return Answer(coordinator_->ListEvents(*request), response);
}

grpc::Status RunServiceImpl::ListMetrics(grpc::ServerContext* context,
                                         const v1::ListMetricsRequest* request,
                                         v1::ListMetricsResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "ListMetrics", request));
  return Answer(coordinator_->ListMetrics(*request), response);
}

grpc::Status RunServiceImpl::ListCheckpoints(grpc::ServerContext* context,
                                             const v1::ListCheckpointsRequest* request,
                                             v1::ListCheckpointsResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "ListCheckpoints", request));
  return Answer(coordinator_->ListCheckpoints(request->run()), response);
}

grpc::Status RunServiceImpl::ListEpochs(grpc::ServerContext* context,
                                        const v1::ListEpochsRequest* request,
                                        v1::ListEpochsResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "ListEpochs", request));
  return Answer(coordinator_->ListEpochs(request->run(), request->limit()), response);
}

grpc::Status RunServiceImpl::ListWorkers(grpc::ServerContext* context,
                                         const v1::ListWorkersRequest* request,
                                         v1::ListWorkersResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "ListWorkers", request));
  *response = coordinator_->ListWorkers();
  return grpc::Status::OK;
}

grpc::Status RunServiceImpl::StreamLogs(grpc::ServerContext* context,
                                        const v1::StreamLogsRequest* request,
                                        grpc::ServerWriter<v1::LogLine>* writer) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "StreamLogs", request));
  const StreamSlot slot(&streams_, kMaxStreams);
  if (!slot.granted()) return TooManyStreams();
  int64_t sequence = 0;
  while (!context->IsCancelled()) {
    bool ended = false;
    absl::StatusOr<std::vector<v1::LogLine>> lines =
        coordinator_->Logs(request->run(), request->tail(), &sequence, &ended, request->worker());
    if (!lines.ok()) return ToRpcStatus(lines.status());
    for (const v1::LogLine& line : *lines) {
      if (!writer->Write(line)) return grpc::Status::CANCELLED;
    }
    if (!request->follow() || (ended && lines->empty())) return grpc::Status::OK;
    if (lines->empty()) clock_->Sleep(kLogPoll);
    RETURN_IF_REFUSED(guard_.Admit(*context, Role::kRead, "StreamLogs"));  // a withdrawn token
  }
  return grpc::Status::CANCELLED;
}

}  // namespace tritter
