// absl::Status to grpc::Status for both services: the codes are the same numbers, the ErrorDetail
// travels in the trailing metadata (grpc-status-details-bin).
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace tritter {

grpc::Status ToRpcStatus(const absl::Status& status);

}  // namespace tritter
