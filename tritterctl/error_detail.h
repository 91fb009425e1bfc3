// tritter.v1.ErrorDetail as a payload of absl::Status, so that commands need not know gRPC to show
// it.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tritter/v1/errors.pb.h"

namespace tritter {

// `serialized`: the bytes of grpc-status-details-bin; anything that is not an ErrorDetail is
// dropped.
void AttachErrorDetail(absl::string_view serialized, absl::Status* status);
std::optional<v1::ErrorDetail> ErrorDetailOf(const absl::Status& status);

}  // namespace tritter
