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

grpc::Status RunServiceImpl::SubmitRun(grpc::ServerContext*, const v1::SubmitRunRequest* request,
                                       v1::SubmitRunResponse* response) {
  return Answer(coordinator_->Submit(*request), response);
}

grpc::Status RunServiceImpl::ValidateRun(grpc::ServerContext*,
                                         const v1::ValidateRunRequest* request,
                                         v1::ValidateRunResponse* response) {
  return Answer(coordinator_->Validate(*request), response);
}

grpc::Status RunServiceImpl::GetRun(grpc::ServerContext*, const v1::GetRunRequest* request,
                                    v1::Run* response) {
  return Answer(coordinator_->Get(request->run()), response);
}

grpc::Status RunServiceImpl::ListRuns(grpc::ServerContext*, const v1::ListRunsRequest* request,
                                      v1::ListRunsResponse* response) {
  *response = coordinator_->List(request->limit());
  return grpc::Status::OK;
}

grpc::Status RunServiceImpl::WatchRun(grpc::ServerContext* context,
                                      const v1::WatchRunRequest* request,
                                      grpc::ServerWriter<v1::RunUpdate>* writer) {
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
  }
  return grpc::Status::CANCELLED;
}

grpc::Status RunServiceImpl::PauseRun(grpc::ServerContext*, const v1::PauseRunRequest* request,
                                      v1::Run* response) {
  return Answer(coordinator_->Pause(request->run()), response);
}

grpc::Status RunServiceImpl::ResumeRun(grpc::ServerContext*, const v1::ResumeRunRequest* request,
                                       v1::Run* response) {
  return Answer(coordinator_->Resume(request->run()), response);
}

grpc::Status RunServiceImpl::CancelRun(grpc::ServerContext*, const v1::CancelRunRequest* request,
                                       v1::Run* response) {
  return Answer(coordinator_->Cancel(request->run(), request->now()), response);
}

grpc::Status RunServiceImpl::ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                                        v1::ListEventsResponse* response) {
  return Answer(coordinator_->ListEvents(*request), response);
}

grpc::Status RunServiceImpl::ListMetrics(grpc::ServerContext*,
                                         const v1::ListMetricsRequest* request,
                                         v1::ListMetricsResponse* response) {
  return Answer(coordinator_->ListMetrics(*request), response);
}

grpc::Status RunServiceImpl::ListCheckpoints(grpc::ServerContext*,
                                             const v1::ListCheckpointsRequest* request,
                                             v1::ListCheckpointsResponse* response) {
  return Answer(coordinator_->ListCheckpoints(request->run()), response);
}

grpc::Status RunServiceImpl::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                         v1::ListWorkersResponse* response) {
  *response = coordinator_->ListWorkers();
  return grpc::Status::OK;
}

grpc::Status RunServiceImpl::StreamLogs(grpc::ServerContext* context,
                                        const v1::StreamLogsRequest* request,
                                        grpc::ServerWriter<v1::LogLine>* writer) {
  const StreamSlot slot(&streams_, kMaxStreams);
  if (!slot.granted()) return TooManyStreams();
  int64_t sequence = 0;
  while (!context->IsCancelled()) {
    bool ended = false;
    absl::StatusOr<std::vector<v1::LogLine>> lines =
        coordinator_->Logs(request->run(), request->tail(), &sequence, &ended);
    if (!lines.ok()) return ToRpcStatus(lines.status());
    for (const v1::LogLine& line : *lines) {
      if (!writer->Write(line)) return grpc::Status::CANCELLED;
    }
    if (!request->follow() || (ended && lines->empty())) return grpc::Status::OK;
    if (lines->empty()) clock_->Sleep(kLogPoll);
  }
  return grpc::Status::CANCELLED;
}

}  // namespace tritter
