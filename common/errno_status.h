// errno as absl::Status: `path: action: text of the system`, with a code that callers can act on.
#pragma once

#include <cerrno>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tritter {

// NotFound, AlreadyExists, PermissionDenied, ResourceExhausted (disk, quota, file size,
// descriptors, memory; the message says what to do), FailedPrecondition (not a folder, is a folder,
// not empty), else Internal.
absl::Status ErrnoStatus(absl::string_view action, absl::string_view path, int error = errno);

}  // namespace tritter
