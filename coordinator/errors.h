// Typed errors of the coordinator: an absl::Status that carries tritter.v1.ErrorDetail, which the
// service layer puts into the trailing metadata.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tritter/v1/errors.pb.h"

namespace tritter {

absl::Status TypedError(absl::StatusCode code, const v1::ErrorDetail& detail,
                        absl::string_view message);
absl::Status TypedError(absl::StatusCode code, v1::ErrorDetail::Reason reason,
                        absl::string_view message, absl::string_view hint);
std::optional<v1::ErrorDetail> DetailOf(const absl::Status& status);

absl::Status UnknownRunError(absl::string_view run);
// `words`: AmbiguityWords; `ids`: of those runs.
absl::Status AmbiguousRunError(absl::string_view name, absl::string_view words,
                               absl::string_view ids);
absl::Status UnknownWorkerError(absl::string_view worker);
// `by`: who has the name now, "pid 12 on host-a".
absl::Status StaleIncarnationError(absl::string_view worker, uint64_t actual, uint64_t current,
                                   absl::string_view by);
// A process has that name. Unavailable with `soon`, which says why its name may be free soon; with
// "" it is connected.
absl::Status NameInUseError(absl::string_view worker, absl::string_view by, absl::string_view soon);
absl::Status StaleEpochError(absl::string_view run, uint64_t actual, uint64_t current,
                             absl::string_view why);
// `action` e.g. "pause"; `state` e.g. "completed"; `hint`: what can be done instead.
absl::Status WrongStateError(absl::string_view run, absl::string_view action,
                             absl::string_view state, absl::string_view hint = "");
absl::Status CheckpointRejectedError(absl::string_view field, absl::string_view actual,
                                     absl::string_view expected, absl::string_view message);

}  // namespace tritter
