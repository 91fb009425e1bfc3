#include "tritterctl/access_client.h"

#include "tritter/v1/access.grpc.pb.h"
#include "tritterctl/rpc_client.h"

namespace tritter {

struct AccessClient::Impl {
  Impl(const std::string& coordinators, const ClientSecurity& security)
      : coordinators(coordinators, security) {}

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (v1::AccessService::Stub::*method)(
                                    grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    return coordinators.Ask(
        [&](const std::shared_ptr<grpc::Channel>& channel, const std::string& who) {
          const auto stub = v1::AccessService::NewStub(channel);
          return CallUnary<Response>(who, [&](grpc::ClientContext* context, Response* response) {
            return (stub.get()->*method)(context, request, response);
          });
        });
  }

  Coordinators coordinators;
};

AccessClient::AccessClient(const std::string& coordinators, const ClientSecurity& security)
    : impl_(std::make_unique<Impl>(coordinators, security)) {}
AccessClient::~AccessClient() = default;

absl::StatusOr<v1::WhoAmIResponse> AccessClient::WhoAmI() {
  return impl_->Call(&v1::AccessService::Stub::WhoAmI, v1::WhoAmIRequest());
}

absl::StatusOr<v1::ListAuditResponse> AccessClient::ListAudit(const v1::ListAuditRequest& request) {
  return impl_->Call(&v1::AccessService::Stub::ListAudit, request);
}

}  // namespace tritter
