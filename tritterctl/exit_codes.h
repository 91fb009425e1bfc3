// What the process returns, and how an error is told: one sentence on stderr, the server's hint
// below it.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace tritter {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,       // the run failed; a local piece of work failed
  kExitUsageError = 2,   // usage, invalid configuration, or not possible in this state
  kExitUnreachable = 3,  // no server there
  kExitServerError = 4,
  kExitNotFound = 5,
  kExitDenied = 6,
  kExitTimedOut = 7,
  kExitInterrupted = 130,
};

// Of an answer (or none) from a server.
int ServerExitCode(const absl::Status& status);
// Of work done in this process: files, packing, checks.
int LocalExitCode(const absl::Status& status);

// "tritterctl: message", and "hint: …" when the status carries an ErrorDetail with one.
std::string ErrorText(const absl::Status& status);

// Print ErrorText on stderr and return the code.
int FailServer(const absl::Status& status);
int FailLocal(const absl::Status& status);
// `code`, unless the answer could not be written (WriteStdout): a reader that is gone is no error.
int AfterWriting(const absl::Status& written, int code);

}  // namespace tritter
