#include "access/rpc_guard_service.h"

#include "absl/strings/str_cat.h"
#include "access/message_limits.h"
#include "common/log.h"

namespace tritter {
namespace {

grpc::Status Refusal(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

std::string ResultText(const grpc::Status& status) {
  if (status.ok()) return "OK";
  return absl::StrCat(absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code())),
                      ": ", status.error_message());
}

}  // namespace

Presented PresentedBy(const grpc::ServerContextBase& context) {
  Presented out;
  out.peer = context.peer();
  const auto& metadata = context.client_metadata();
  if (const auto it = metadata.find("authorization"); it != metadata.end())
    out.authorization.assign(it->second.data(), it->second.size());
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  if (peer == nullptr || !peer->IsPeerAuthenticated()) return out;
  for (const char* property : {"x509_common_name", "x509_subject_alternative_name"}) {
    for (const grpc::string_ref& name : peer->FindPropertyValues(property)) {
      if (!name.empty()) out.certificate_names.emplace_back(name.data(), name.size());
    }
  }
  return out;
}

grpc::Status RpcGuard::Admit(const grpc::ServerContextBase& context, Role needed,
                             absl::string_view call, const google::protobuf::Message* request,
                             Caller* caller) const {
  Caller admitted{"anyone", RoleSet::All(), ""};
  if (access_ != nullptr) {
    absl::StatusOr<Caller> known = access_->Admit(PresentedBy(context), needed, call);
    if (!known.ok()) return Refusal(known.status());
    admitted = *std::move(known);
  } else if (caller != nullptr) {
    admitted.peer = context.peer();
  }
  if (request != nullptr) {
    const absl::Status bounded = CheckMessage(*request, RequestLimits());
    if (!bounded.ok())
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, std::string(bounded.message()));
  }
  if (caller != nullptr) *caller = std::move(admitted);
  return grpc::Status::OK;
}

grpc::Status RpcGuard::Identify(const grpc::ServerContextBase& context, Caller* caller) const {
  if (access_ == nullptr) {
    *caller = {"anyone", RoleSet::All(), context.peer()};
    return grpc::Status::OK;
  }
  absl::StatusOr<Caller> known = access_->Identify(PresentedBy(context));
  if (!known.ok()) return Refusal(known.status());
  *caller = *std::move(known);
  return grpc::Status::OK;
}

grpc::Status RpcGuard::Begin(const Caller& caller, absl::string_view call, const std::string& run,
                             int64_t* record) const {
  if (audit_ == nullptr) return grpc::Status::OK;
  AuditRecord entry;
  entry.caller = caller.name;
  entry.peer = caller.peer;
  entry.call = std::string(call);
  entry.run = run;
  const absl::StatusOr<int64_t> id = audit_->Begin(entry);
  if (!id.ok()) {
    return grpc::Status(
        static_cast<grpc::StatusCode>(id.status().code()),
        absl::StrCat(call, " is not carried out, since it cannot be recorded in the audit log: ",
                     std::string(id.status().message())));
  }
  *record = *id;
  return grpc::Status::OK;
}

void RpcGuard::End(int64_t record, const grpc::Status& status, const std::string& run) const {
  if (audit_ == nullptr) return;
  const absl::Status written = audit_->End(record, ResultText(status), run);
  if (!written.ok()) {
    LogError("audit_result_not_written", {{"record", record},
                                          {"result", ResultText(status)},
                                          {"error", std::string(written.message())}});
  }
}

}  // namespace tritter
