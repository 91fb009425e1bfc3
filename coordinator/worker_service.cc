#include "coordinator/worker_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc_error_service.h"
#include "coordinator/session_service.h"
#include "coordinator/stream_slot.h"

namespace tritter {
namespace {

template <typename T>
grpc::Status Answer(absl::StatusOr<T> value, T* response) {
  if (!value.ok()) return ToRpcStatus(value.status());
  *response = *std::move(value);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status WorkerServiceImpl::Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                                         v1::RegisterResponse* response) {
  return Answer(coordinator_->Register(*request), response);
}

grpc::Status WorkerServiceImpl::Session(
    grpc::ServerContext* context, grpc::ServerReaderWriter<v1::Command, v1::Heartbeat>* stream) {
  const StreamSlot slot(&sessions_, limits_.sessions);
  if (!slot.granted()) {
    return ToRpcStatus(absl::ResourceExhaustedError(
        absl::StrCat("more than ", limits_.sessions,
                     " sessions of workers are open; end workers that are not needed")));
  }
  return RunSession(coordinator_, context, stream, limits_.first_heartbeat);
}

grpc::Status WorkerServiceImpl::PublishRendezvous(grpc::ServerContext*,
                                                  const v1::PublishRendezvousRequest* request,
                                                  v1::PublishRendezvousResponse*) {
  return ToRpcStatus(coordinator_->PublishRendezvous(*request));
}

grpc::Status WorkerServiceImpl::NextPlan(grpc::ServerContext*, const v1::NextPlanRequest* request,
                                         v1::NextPlanResponse* response) {
  return Answer(coordinator_->NextPlan(*request), response);
}

grpc::Status WorkerServiceImpl::Report(grpc::ServerContext*, const v1::ReportRequest* request,
                                       v1::ReportResponse*) {
  return ToRpcStatus(coordinator_->Report(*request));
}

grpc::Status WorkerServiceImpl::CommitShare(grpc::ServerContext*,
                                            const v1::CommitShareRequest* request,
                                            v1::CommitShareResponse* response) {
  return Answer(coordinator_->CommitShare(*request), response);
}

}  // namespace tritter
