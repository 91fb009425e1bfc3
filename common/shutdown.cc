#include "common/shutdown.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "common/clock.h"

namespace tritter {
namespace {

std::atomic<int> requested{0};
static_assert(std::atomic<int>::is_always_lock_free);  // touched by the signal handler

// The byte written on the first request stays in the pipe, so that every waiter sees it.
struct Pipe {
  int read_end, write_end;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) abort();  // no descriptors at start-up
    read_end = ends[0];
    write_end = ends[1];
  }
};

Pipe& ThePipe() {
  static Pipe* const p = new Pipe;
  return *p;
}

int handler_pipe = -1;

void Request(int signal, int write_end) {
  int none = 0;
  if (!requested.compare_exchange_strong(none, signal)) return;
  const char byte = 1;
  [[maybe_unused]] const ssize_t n = write(write_end, &byte, 1);
}

void Handle(int signal) {
  const int saved_errno = errno;
  if (requested.load() != 0) _exit(128 + signal);
  Request(signal, handler_pipe);
  errno = saved_errno;
}

}  // namespace

void InstallShutdownHandlers() {
  handler_pipe = ThePipe().write_end;
  struct sigaction action = {};
  action.sa_handler = Handle;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE,
         SIG_IGN);  // a peer that goes away is an error of write, not the end of the process
}

bool ShutdownRequested() { return requested.load() != 0; }
int ShutdownSignal() { return requested.load(); }

bool WaitForShutdown(absl::Duration timeout) {
  const absl::Duration deadline = Clock::Real()->Monotonic() + timeout;
  pollfd p = {ThePipe().read_end, POLLIN, 0};
  while (!ShutdownRequested()) {
    const absl::Duration left = deadline - Clock::Real()->Monotonic();
    if (left <= absl::ZeroDuration()) return false;
    // poll takes an int of milliseconds; rounded up so that the last turn does not spin.
    const int64_t ms = absl::ToInt64Milliseconds(std::min(left, absl::Hours(1))) + 1;
    poll(&p, 1, static_cast<int>(ms));
  }
  return true;
}

void RequestShutdown(int signal) { Request(signal, ThePipe().write_end); }

}  // namespace tritter
