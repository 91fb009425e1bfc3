#include "coordinator/rpc_error_service.h"

#include <optional>
#include <string>

#include "coordinator/errors.h"

namespace tritter {

grpc::Status ToRpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::optional<v1::ErrorDetail> detail = DetailOf(status);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      detail.has_value() ? detail->SerializeAsString() : "");
}

}  // namespace tritter
