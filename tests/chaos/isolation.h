// A process's own view of network and mounts, so that a test can cut cables and fill disks without
// touching the machine.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace tritter::chaos {

// Gives this process, and what it starts from now on, a network with nothing but loopback, and
// mounts that nobody else sees. Call it before any thread is started; a repeat does nothing.
// Without root it tries a user namespace. PermissionDenied: the machine allows neither.
absl::Status Isolate();

// For whom is in the network namespace meant: gives the interface an address of 10.77.0.0/24
// (empty: none) and switches it on.
absl::Status BringUp(const std::string& interface, const std::string& address, int mtu);

}  // namespace tritter::chaos
