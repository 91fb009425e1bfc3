// Small questions about addresses. Not a networking library: gRPC and prometheus-cpp listen
// themselves.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

struct HostPort {
  std::string host;
  int port = 0;  // 0: any free one
};

// "127.0.0.1:7000", "[::1]:7000", "localhost:0". Errors: InvalidArgument.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view address);
std::string FormatHostPort(const HostPort& address);  // brackets around IPv6

// 127.0.0.0/8, ::1 and the name localhost; no look-up is made.
bool IsLoopback(absl::string_view host);

// OK when the address can be listened on now. Errors: AlreadyExists ("… is in use …"),
// PermissionDenied (a port below 1024), InvalidArgument (not an address of this machine). Port 0 is
// always free.
absl::Status CheckCanListen(const HostPort& address);

// Somebody listens there: a connection was made, and closed at once. Blocks as long as connect(2)
// does.
bool CanConnect(const HostPort& address);

// A loopback port that was free a moment ago. Somebody may take it first: prefer listening on port
// 0.
absl::StatusOr<int> PickFreeLoopbackPort();

}  // namespace tritter
