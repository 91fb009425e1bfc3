// AccessService over gRPC: translation only.
#pragma once

#include <functional>
#include <string>

#include "access/audit_log.h"
#include "access/rpc_guard_service.h"
#include "tritter/v1/access.grpc.pb.h"

namespace tritter {

// Thread-safe; the log outlives it. `run_id`: of the run that somebody names, or the name itself.
class AccessServiceImpl final : public v1::AccessService::Service {
 public:
  AccessServiceImpl(RpcGuard guard, AuditLog* audit,
                    std::function<std::string(const std::string& run)> run_id)
      : guard_(guard), audit_(audit), run_id_(std::move(run_id)) {}

  grpc::Status WhoAmI(grpc::ServerContext*, const v1::WhoAmIRequest*, v1::WhoAmIResponse*) override;
  grpc::Status ListAudit(grpc::ServerContext*, const v1::ListAuditRequest*,
                         v1::ListAuditResponse*) override;

 private:
  const RpcGuard guard_;
  AuditLog* const audit_;
  const std::function<std::string(const std::string& run)> run_id_;
};

}  // namespace tritter
