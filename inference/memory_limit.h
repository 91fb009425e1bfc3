// How much memory this process may still take.
#pragma once

#include <cstdint>

#include "common/env.h"

namespace tritter {

// Bytes available now: the machine's (MemAvailable of /proc/meminfo) or, where less, what the
// control group has left below its limit (memory.max - memory.current; pages of files that it could
// drop count as left). 0 when neither can be read.
int64_t AvailableMemoryBytes(Env* env);

}  // namespace tritter
