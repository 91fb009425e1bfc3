#include "tritterctl/access_client.h"

#include "tritter/v1/access.grpc.pb.h"
#include "tritterctl/rpc_client.h"

namespace tritter {

struct AccessClient::Impl {
  Impl(const std::string& address, const ClientSecurity& security)
      : who(absl::StrCat("coordinator at ", address)),
        refused(CheckServerAddress("--coordinator", address, security)),
        stub(refused.ok() ? v1::AccessService::NewStub(MakeChannel(address, security)) : nullptr) {}

  const std::string who;
  const absl::Status refused;  // before anything is sent
  const std::unique_ptr<v1::AccessService::Stub> stub;
};

AccessClient::AccessClient(const std::string& address, const ClientSecurity& security)
    : impl_(std::make_unique<Impl>(address, security)) {}
AccessClient::~AccessClient() = default;

absl::StatusOr<v1::WhoAmIResponse> AccessClient::WhoAmI() {
  if (!impl_->refused.ok()) return impl_->refused;
  return CallUnary<v1::WhoAmIResponse>(
      impl_->who, [&](grpc::ClientContext* context, v1::WhoAmIResponse* response) {
        return impl_->stub->WhoAmI(context, v1::WhoAmIRequest(), response);
      });
}

absl::StatusOr<v1::ListAuditResponse> AccessClient::ListAudit(const v1::ListAuditRequest& request) {
  if (!impl_->refused.ok()) return impl_->refused;
  return CallUnary<v1::ListAuditResponse>(
      impl_->who, [&](grpc::ClientContext* context, v1::ListAuditResponse* response) {
        return impl_->stub->ListAudit(context, request, response);
      });
}

}  // namespace tritter
