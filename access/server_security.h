// How a server is protected, and where it may listen because of that. The same for all servers.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "access/tls_files.h"
#include "common/flags.h"

namespace tritter {

struct ServerSecurity {
  std::string tls_certificate, tls_key;  // PEM; empty: no TLS
  std::string tls_client_authority;      // mutual TLS
  std::string access_file;               // access_file.h; empty: no tokens
  bool insecure = false;
  bool public_monitoring = false;

  bool tls() const { return !tls_certificate.empty(); }
  bool asks() const { return !access_file.empty() || !tls_client_authority.empty(); }
  TlsFiles files() const { return {tls_certificate, tls_key, tls_client_authority}; }
};

// --tls-cert, --tls-key, --tls-client-ca, --access-file, --insecure, --public-monitoring.
void AddServerSecurityFlags(CommandLine* app, ServerSecurity* security);

// The flags fit together. InvalidArgument naming the flag.
absl::Status CheckServerSecurity(const ServerSecurity& security);

// A server that does what callers ask may listen on `address`: loopback, or beyond it with TLS and
// with callers that are identified, or --insecure. InvalidArgument.
absl::Status CheckServiceAddress(absl::string_view flag, const std::string& address,
                                 const ServerSecurity& security);
// Health and metrics have no TLS and ask nobody: loopback, or --public-monitoring.
absl::Status CheckMonitoringAddress(absl::string_view flag, const std::string& address,
                                    const ServerSecurity& security);

}  // namespace tritter
