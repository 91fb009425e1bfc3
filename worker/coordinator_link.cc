#include "worker/coordinator_link.h"

#include "absl/strings/cord.h"

namespace tritter {
namespace {
constexpr char kStaleEpochUrl[] = "tritter.v1.ErrorDetail/STALE_EPOCH";
}  // namespace

const char* TrainingPhaseName(TrainingPhase phase) {
  switch (phase) {
    case TrainingPhase::kUnspecified:
      return "unspecified";
    case TrainingPhase::kWarmup:
      return "warmup";
    case TrainingPhase::kFull:
      return "full";
    case TrainingPhase::kPredict:
      return "predict";
    case TrainingPhase::kCorrect:
      return "correct";
  }
  return "unknown";
}

absl::Status StaleEpochError(absl::string_view message) {
  absl::Status status = absl::FailedPreconditionError(message);
  status.SetPayload(kStaleEpochUrl, absl::Cord("1"));
  return status;
}

bool IsStaleEpoch(const absl::Status& status) {
  return status.GetPayload(kStaleEpochUrl).has_value();
}

bool IsRetryable(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status);
}

}  // namespace tritter
