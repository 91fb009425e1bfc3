#include "common/errno_status.h"

#include <system_error>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

absl::StatusCode Code(int error) {
  switch (error) {
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case ENOTDIR:
    case EISDIR:
    case ENOTEMPTY:
      return absl::StatusCode::kFailedPrecondition;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::string_view WhatToDo(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "; free some space and run it again";
    case EFBIG:
      return "; raise the limit of file sizes (ulimit -f) and run it again";
    case EMFILE:
    case ENFILE:
      return "; raise the limit of open files (ulimit -n) and run it again";
    default:
      return "";
  }
}

}  // namespace

absl::Status ErrnoStatus(absl::string_view action, absl::string_view path, int error) {
  return absl::Status(Code(error),
                      absl::StrCat(path, ": ", action, ": ", std::generic_category().message(error),
                                   WhatToDo(error)));
}

}  // namespace tritter
