// AccessService over gRPC. gRPC stays in the .cc.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "access/client_security.h"
#include "tritter/v1/access.pb.h"

namespace tritter {

// Errors as of RunApi.
class AccessClient {
 public:
  // `coordinators`: as of RunClient.
  AccessClient(const std::string& coordinators, const ClientSecurity& security);
  ~AccessClient();

  absl::StatusOr<v1::WhoAmIResponse> WhoAmI();
  absl::StatusOr<v1::ListAuditResponse> ListAudit(const v1::ListAuditRequest& request);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace tritter
