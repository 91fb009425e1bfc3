#include "coordinator/errors.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace tritter {
namespace {
constexpr char kDetailUrl[] = "type.googleapis.com/tritter.v1.ErrorDetail";
}  // namespace

absl::Status TypedError(absl::StatusCode code, const v1::ErrorDetail& detail,
                        absl::string_view message) {
  absl::Status status(code, detail.hint().empty() ? std::string(message)
                                                  : absl::StrCat(message, "; ", detail.hint()));
  const std::string bytes = detail.SerializeAsString();
  status.SetPayload(kDetailUrl, absl::Cord(absl::string_view(bytes)));
  return status;
}

absl::Status TypedError(absl::StatusCode code, v1::ErrorDetail::Reason reason,
                        absl::string_view message, absl::string_view hint) {
  v1::ErrorDetail detail;
  detail.set_reason(reason);
  detail.set_hint(std::string(hint));
  return TypedError(code, detail, message);
}

std::optional<v1::ErrorDetail> DetailOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kDetailUrl);
  if (!payload.has_value()) return std::nullopt;
  v1::ErrorDetail detail;
  if (!detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

absl::Status UnknownRunError(absl::string_view run) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::UNKNOWN_RUN);
  detail.set_field("run");
  detail.set_actual(std::string(run));
  detail.set_hint("list the runs with `tritterctl get runs`");
  return TypedError(absl::StatusCode::kNotFound, detail,
                    absl::StrCat("no run with the id or name \"", run, "\""));
}

absl::Status AmbiguousRunError(absl::string_view name, absl::string_view words,
                               absl::string_view ids) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::AMBIGUOUS_RUN);
  detail.set_field("run");
  detail.set_actual(std::string(name));
  detail.set_expected(std::string(ids));
  detail.set_hint("give the id of the one that is meant");
  return TypedError(absl::StatusCode::kFailedPrecondition, detail, words);
}

absl::Status UnknownWorkerError(absl::string_view worker) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::UNKNOWN_WORKER);
  detail.set_field("worker.name");
  detail.set_actual(std::string(worker));
  detail.set_hint("register again with the same incarnation");
  return TypedError(absl::StatusCode::kNotFound, detail,
                    absl::StrCat("worker \"", worker, "\" is not registered"));
}

absl::Status StaleIncarnationError(absl::string_view worker, uint64_t actual, uint64_t current,
                                   absl::string_view by) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::STALE_INCARNATION);
  detail.set_field("worker.incarnation");
  detail.set_actual(absl::StrCat(actual));
  detail.set_expected(absl::StrCat(current));
  detail.set_hint("end this one or give it another name");
  return TypedError(absl::StatusCode::kFailedPrecondition, detail,
                    absl::StrCat("worker ", worker, " is another process now (", by,
                                 ", incarnation ", current, "), the request came from ", actual));
}

absl::Status NameInUseError(absl::string_view worker, absl::string_view by,
                            absl::string_view soon) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::NAME_IN_USE);
  detail.set_field("worker.name");
  detail.set_actual(std::string(worker));
  detail.set_hint(soon.empty() ? "give this one another --name" : std::string(soon));
  return TypedError(
      soon.empty() ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kUnavailable, detail,
      absl::StrCat("a worker named ", worker, " (", by,
                   soon.empty() ? ") is connected" : ") has this name"));
}

absl::Status StaleEpochError(absl::string_view run, uint64_t actual, uint64_t current,
                             absl::string_view why) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::STALE_EPOCH);
  detail.set_field("epoch");
  detail.set_actual(absl::StrCat(actual));
  detail.set_expected(absl::StrCat(current));
  detail.set_hint("leave the epoch and wait for the next command");
  detail.set_current_epoch(current);
  return TypedError(
      absl::StatusCode::kFailedPrecondition, detail,
      absl::StrCat("epoch ", actual, " of run ", run, " ", why, "; the newest is ", current));
}

absl::Status WrongStateError(absl::string_view run, absl::string_view action,
                             absl::string_view state, absl::string_view hint) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::WRONG_STATE);
  detail.set_field("state");
  detail.set_actual(std::string(state));
  detail.set_hint(std::string(hint));
  return TypedError(absl::StatusCode::kFailedPrecondition, detail,
                    absl::StrCat("cannot ", action, " run ", run, ": it is ", state));
}

absl::Status CheckpointRejectedError(absl::string_view field, absl::string_view actual,
                                     absl::string_view expected, absl::string_view message) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::CHECKPOINT_REJECTED);
  detail.set_field(std::string(field));
  detail.set_actual(std::string(actual));
  detail.set_expected(std::string(expected));
  return TypedError(absl::StatusCode::kFailedPrecondition, detail,
                    absl::StrCat("checkpoint share refused: ", message, " (", field, " is ", actual,
                                 ", expected ", expected, ")"));
}

}  // namespace tritter
