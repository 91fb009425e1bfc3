#include "coordinator/testing/rpc_worker_client.h"

#include <utility>

#include "coordinator/errors.h"

namespace tritter {

absl::Status FromRpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  v1::ErrorDetail detail;
  if (status.error_details().empty() || !detail.ParseFromString(status.error_details())) {
    return absl::Status(code, status.error_message());
  }
  return TypedError(code, detail, status.error_message());
}

RpcWorkerApi::RpcWorkerApi(const std::string& address)
    : stub_(v1::WorkerService::NewStub(
          grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {}

absl::Status RpcWorkerApi::Register(const v1::RegisterRequest& request) {
  grpc::ClientContext context;
  v1::RegisterResponse response;
  return FromRpcStatus(stub_->Register(&context, request, &response));
}

absl::Status RpcWorkerApi::OpenSession(const v1::Heartbeat& first) {
  BreakSession();
  context_ = std::make_unique<grpc::ClientContext>();
  stream_ = stub_->Session(context_.get());
  if (!stream_->Write(first)) return absl::UnavailableError("the session was refused");
  reader_ = std::thread([this] {
    v1::Command command;
    while (stream_->Read(&command)) {
      MutexLock lock(&mu_);
      commands_.push_back(command);
    }
  });
  return absl::OkStatus();
}

absl::Status RpcWorkerApi::Beat(const v1::Heartbeat& heartbeat) {
  if (stream_ == nullptr) return absl::FailedPreconditionError("no session");
  return stream_->Write(heartbeat) ? absl::OkStatus()
                                   : absl::UnavailableError("the session is broken");
}

void RpcWorkerApi::BreakSession() {
  if (stream_ == nullptr) return;
  context_->TryCancel();
  reader_.join();
  stream_->Finish();
  stream_.reset();
}

std::vector<v1::Command> RpcWorkerApi::TakeCommands() {
  MutexLock lock(&mu_);
  return std::exchange(commands_, {});
}

absl::Status RpcWorkerApi::PublishRendezvous(const v1::PublishRendezvousRequest& request) {
  grpc::ClientContext context;
  v1::PublishRendezvousResponse response;
  return FromRpcStatus(stub_->PublishRendezvous(&context, request, &response));
}

absl::StatusOr<v1::NextPlanResponse> RpcWorkerApi::NextPlan(const v1::NextPlanRequest& request) {
  grpc::ClientContext context;
  v1::NextPlanResponse response;
  const absl::Status status = FromRpcStatus(stub_->NextPlan(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

absl::Status RpcWorkerApi::Report(const v1::ReportRequest& request) {
  grpc::ClientContext context;
  v1::ReportResponse response;
  return FromRpcStatus(stub_->Report(&context, request, &response));
}

absl::StatusOr<v1::CommitShareResponse> RpcWorkerApi::CommitShare(
    const v1::CommitShareRequest& request) {
  grpc::ClientContext context;
  v1::CommitShareResponse response;
  const absl::Status status = FromRpcStatus(stub_->CommitShare(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

}  // namespace tritter
