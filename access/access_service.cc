#include "access/access_service.h"

#include <algorithm>

namespace tritter {
namespace {
constexpr int32_t kUsual = 100, kMost = 1000;  // records in an answer
}  // namespace

grpc::Status AccessServiceImpl::WhoAmI(grpc::ServerContext* context, const v1::WhoAmIRequest*,
                                       v1::WhoAmIResponse* response) {
  Caller caller;
  RETURN_IF_REFUSED(guard_.Identify(*context, &caller));
  response->set_name(caller.name);
  for (const std::string& role : caller.roles.Names()) response->add_roles(role);
  return grpc::Status::OK;
}

grpc::Status AccessServiceImpl::ListAudit(grpc::ServerContext* context,
                                          const v1::ListAuditRequest* request,
                                          v1::ListAuditResponse* response) {
  RETURN_IF_REFUSED(guard_.Admit(*context, Role::kOperate, "ListAudit", request));
  AuditQuery query;
  query.after_id = std::max<int64_t>(0, request->after_id());
  query.limit = request->limit() <= 0 ? kUsual : std::min(request->limit(), kMost);
  if (!request->run().empty()) query.runs = {request->run(), run_id_(request->run())};
  const absl::StatusOr<std::vector<AuditRecord>> records = audit_->Read(query);
  if (!records.ok()) {
    return grpc::Status(static_cast<grpc::StatusCode>(records.status().code()),
                        std::string(records.status().message()));
  }
  for (const AuditRecord& r : *records) {
    v1::AuditRecord* out = response->add_records();
    out->set_id(r.id);
    out->set_time_ms(r.time_ms);
    out->set_caller(r.caller);
    out->set_peer(r.peer);
    out->set_call(r.call);
    out->set_run(r.run);
    out->set_result(r.result);
  }
  return grpc::Status::OK;
}

}  // namespace tritter
