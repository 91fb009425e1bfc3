// Early return on absl::Status and absl::StatusOr, and context for a status that travels upwards.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace tritter {

// `context: message` with the same code; OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status out(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

namespace status_internal {
inline absl::Status ToStatus(const absl::Status& s) { return s; }
template <typename T>
absl::Status ToStatus(const absl::StatusOr<T>& s) {
  return s.status();
}
}  // namespace status_internal
}  // namespace tritter

#define TRITTER_CONCAT_INNER(a, b) a##b
#define TRITTER_CONCAT(a, b) TRITTER_CONCAT_INNER(a, b)

// RETURN_IF_ERROR(expr): returns the status of expr from this function unless it is OK.
#define RETURN_IF_ERROR(expr)                                                                   \
  do {                                                                                          \
    if (auto tritter_status = ::tritter::status_internal::ToStatus(expr); !tritter_status.ok()) \
      return tritter_status;                                                                    \
  } while (false)

// ASSIGN_OR_RETURN(auto x, expr): x = *expr, or returns the status of expr.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(TRITTER_CONCAT(tritter_statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) return tmp.status();         \
  lhs = *std::move(tmp)
