#include "tritterctl/error_detail.h"

#include "absl/strings/cord.h"

namespace tritter {
namespace {
constexpr char kPayloadUrl[] = "type.googleapis.com/tritter.v1.ErrorDetail";
}  // namespace

void AttachErrorDetail(absl::string_view serialized, absl::Status* status) {
  v1::ErrorDetail detail;
  if (serialized.empty() ||
      !detail.ParseFromArray(serialized.data(), static_cast<int>(serialized.size())))
    return;
  status->SetPayload(kPayloadUrl, absl::Cord(serialized));
}

std::optional<v1::ErrorDetail> ErrorDetailOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  v1::ErrorDetail detail;
  if (!payload || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

}  // namespace tritter
