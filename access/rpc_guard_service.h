// Who calls over gRPC, and what becomes of it.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "access/access_control.h"
#include "access/audit_log.h"

// RETURN_IF_REFUSED(guard.Admit(…)): ends a call of a service that must not go on.
#define RETURN_IF_REFUSED(admission) \
  if (grpc::Status refusal = (admission); !refusal.ok()) return refusal

namespace tritter {

// Token, certificate and address of the caller.
Presented PresentedBy(const grpc::ServerContextBase& context);

// Stands at the beginning of every call of our services. Without an AccessControl everybody may do
// everything, without an AuditLog nothing is recorded. Thread-safe; both outlive it.
class RpcGuard {
 public:
  RpcGuard() = default;
  RpcGuard(AccessControl* access, AuditLog* audit) : access_(access), audit_(audit) {}

  // OK, UNAUTHENTICATED or PERMISSION_DENIED; INVALID_ARGUMENT when `request`
  // is given and beyond RequestLimits.
  grpc::Status Admit(const grpc::ServerContextBase& context, Role needed, absl::string_view call,
                     const google::protobuf::Message* request = nullptr,
                     Caller* caller = nullptr) const;
  // Anybody who is known.
  grpc::Status Identify(const grpc::ServerContextBase& context, Caller* caller) const;

  // A call that changes something, on the record: work(&run) → grpc::Status, where `run` comes in
  // as the caller named it and may go out as the run's id.
  template <typename Work>
  grpc::Status Change(const grpc::ServerContextBase& context, Role needed, absl::string_view call,
                      const google::protobuf::Message& request, std::string run, Work work) const {
    Caller caller;
    grpc::Status status = Admit(context, needed, call, &request, &caller);
    int64_t record = 0;
    if (status.ok()) status = Begin(caller, call, run, &record);
    if (!status.ok()) return status;
    status = work(&run);
    End(record, status, run);
    return status;
  }

 private:
  grpc::Status Begin(const Caller& caller, absl::string_view call, const std::string& run,
                     int64_t* record) const;
  void End(int64_t record, const grpc::Status& status, const std::string& run) const;

  AccessControl* access_ = nullptr;
  AuditLog* audit_ = nullptr;
};

}  // namespace tritter
