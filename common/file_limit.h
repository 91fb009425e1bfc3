// How many files, connections among them, this process may have open.
#pragma once

#include <cstdint>

namespace tritter {

// Raises the soft limit to the hard one, and gives what holds then. Login sessions and service
// managers commonly set 1024, which a server with a connection to each of many workers exceeds; the
// hard limit is what the administrator decided.
int64_t RaiseFileLimit();

}  // namespace tritter
