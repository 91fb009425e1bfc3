// What another process uses of this machine, from /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tritter::load {

struct ProcessUse {
  absl::Duration processor;  // of all its threads, user and system, since it started
  int64_t resident_bytes = 0, peak_resident_bytes = 0;
  int64_t threads = 0;
};

// NotFound: there is no such process.
absl::StatusOr<ProcessUse> ReadProcessUse(pid_t pid);

}  // namespace tritter::load
