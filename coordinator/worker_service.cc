#include "coordinator/worker_service.h"

#include <utility>

#include "coordinator/rpc_error_service.h"

namespace tritter {
namespace {

template <typename T>
grpc::Status Answer(absl::StatusOr<T> value, T* response) {
  if (!value.ok()) return ToRpcStatus(value.status());
  *response = *std::move(value);
  return grpc::Status::OK;
}

// Ends a session before it begins.
class RefusedSession final : public grpc::ServerBidiReactor<v1::Heartbeat, v1::Command> {
 public:
  explicit RefusedSession(const grpc::Status& refusal) { Finish(refusal); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::Status WorkerServiceImpl::Register(grpc::ServerContext* context,
                                         const v1::RegisterRequest* request,
                                         v1::RegisterResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kWorker, "Register", request));
  return Answer(coordinator_->Register(*request), response);
}

grpc::ServerBidiReactor<v1::Heartbeat, v1::Command>* WorkerServiceImpl::Session(
    grpc::CallbackServerContext* context) {
  const auto admit = [this, context] { return guard_.Admit(*context, Role::kWorker, "Session"); };
  if (grpc::Status refusal = admit(); !refusal.ok()) return new RefusedSession(refusal);
  return new SessionReactor(
      &inbox_, context,
      [admit] {
        const grpc::Status status = admit();
        return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                            status.error_message());
      },
      limits_.first_heartbeat, &sessions_, limits_.sessions);
}

grpc::Status WorkerServiceImpl::PublishRendezvous(grpc::ServerContext* context,
                                                  const v1::PublishRendezvousRequest* request,
                                                  v1::PublishRendezvousResponse*) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kWorker, "PublishRendezvous", request));
  return ToRpcStatus(coordinator_->PublishRendezvous(*request));
}

grpc::Status WorkerServiceImpl::NextPlan(grpc::ServerContext* context,
                                         const v1::NextPlanRequest* request,
                                         v1::NextPlanResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kWorker, "NextPlan", request));
  return Answer(coordinator_->NextPlan(*request), response);
}

grpc::Status WorkerServiceImpl::Report(grpc::ServerContext* context,
                                       const v1::ReportRequest* request, v1::ReportResponse*) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kWorker, "Report", request));
  return ToRpcStatus(coordinator_->Report(*request));
}

grpc::Status WorkerServiceImpl::CommitShare(grpc::ServerContext* context,
                                            const v1::CommitShareRequest* request,
                                            v1::CommitShareResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kWorker, "CommitShare", request));
  return Answer(coordinator_->CommitShare(*request), response);
}

}  // namespace tritter
