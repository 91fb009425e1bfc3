#include "tritterctl/exit_codes.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tritterctl/error_detail.h"

namespace tritter {

int ServerExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:  // resume of a run that is not paused
    case absl::StatusCode::kAlreadyExists:       // a name or key that is taken
      return kExitUsageError;
    case absl::StatusCode::kUnavailable:
      return kExitUnreachable;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitDenied;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimedOut;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitServerError;
  }
}

int LocalExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:  // another `local` works in this folder
    case absl::StatusCode::kAlreadyExists:
      return kExitUsageError;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kPermissionDenied:
      return kExitDenied;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimedOut;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

std::string ErrorText(const absl::Status& status) {
  const auto detail = ErrorDetailOf(status);
  const std::string hint = detail ? detail->hint() : "";
  // Servers say it in the message too, for those who do not read details.
  absl::string_view message = status.message();
  if (!hint.empty()) message = absl::StripSuffix(message, absl::StrCat("; ", hint));
  std::string text = absl::StrCat("tritterctl: ", message);
  if (absl::IsUnimplemented(status) && status.message().empty()) {
    absl::StrAppend(&text,
                    "a server answers there, but it does not know this call\nhint: is it the ",
                    "address of another server? --coordinator is for runs (port 7070), --server ",
                    "for texts (port 8080)");
  } else if (status.message().empty()) {
    absl::StrAppend(&text, absl::StatusCodeToString(status.code()), ", without a message");
  }
  if (!hint.empty()) absl::StrAppend(&text, "\nhint: ", hint);
  return text;
}

int FailServer(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", ErrorText(status).c_str());
  return ServerExitCode(status);
}

int FailLocal(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", ErrorText(status).c_str());
  return LocalExitCode(status);
}

int AfterWriting(const absl::Status& written, int code) {
  return written.ok() || absl::IsAborted(written) ? code : FailLocal(written);
}

}  // namespace tritter
