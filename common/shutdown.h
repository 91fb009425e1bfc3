// Graceful shutdown: SIGINT and SIGTERM ask, a second one of them ends the process at once
// (130/143).
#pragma once

#include <functional>

#include "absl/time/time.h"

namespace tritter {

// Installs the handlers (once, first thing in main, before any thread). They only write to a pipe.
// SIGPIPE is ignored.
void InstallShutdownHandlers();
bool ShutdownRequested();
int ShutdownSignal();  // 0, SIGINT or SIGTERM
// Blocks until asked or the timeout is over; true when asked.
bool WaitForShutdown(absl::Duration timeout = absl::InfiniteDuration());
void RequestShutdown(int signal);  // as if the signal had come (tests, fatal errors)

}  // namespace tritter
