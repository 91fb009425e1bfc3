#include "coordinator/rpc_error_service.h"

#include <optional>
#include <string>

#include "common/short_text.h"
#include "coordinator/errors.h"

namespace tritter {
namespace {

// Trailers of gRPC hold 8 kB, in which all but printable ASCII takes three bytes: with more a
// client sees that, and not the error.
constexpr size_t kMostOfMessage = 4500;

std::string Fitting(absl::string_view message) {
  size_t cost = 0;
  for (size_t i = 0; i < message.size(); ++i) {
    const auto c = static_cast<unsigned char>(message[i]);
    cost += c >= ' ' && c < 0x7f && c != '%' ? 1 : 3;
    if (cost > kMostOfMessage) return ShortText(message, i);
  }
  return std::string(message);
}

}  // namespace

grpc::Status ToRpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::optional<v1::ErrorDetail> detail = DetailOf(status);
  if (detail.has_value()) {
    for (std::string* text : {detail->mutable_actual(), detail->mutable_expected(),
                              detail->mutable_field(), detail->mutable_hint()})
      *text = ShortText(*text, 400);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Fitting(status.message()),
                      detail.has_value() ? detail->SerializeAsString() : "");
}

}  // namespace tritter
