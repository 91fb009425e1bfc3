#include "access/server_security.h"

#include "absl/strings/str_cat.h"
#include "common/net.h"
#include "common/status_macros.h"

namespace tritter {

void AddServerSecurityFlags(CommandLine* app, ServerSecurity* s) {
  app->AddFlag("--tls-cert", &s->tls_certificate,
               "certificate chain of this server (PEM): then it speaks TLS; read again when it "
               "changes");
  app->AddFlag("--tls-key", &s->tls_key, "private key of --tls-cert (PEM)");
  app->AddFlag("--tls-client-ca", &s->tls_client_authority,
               "certificates (PEM) that sign those of clients: then every client must have one");
  app->AddFlag("--access-file", &s->access_file,
               "who may do what: tokens and certificates with their roles (docs: security); read "
               "again when it changes; empty: nobody is asked");
  app->AddFlag("--insecure", &s->insecure,
               "listen beyond loopback without TLS or without asking who calls");
  app->AddFlag("--public-monitoring", &s->public_monitoring,
               "health and metrics may be reachable from other machines; they ask nobody");
}

absl::Status CheckServerSecurity(const ServerSecurity& s) {
  if (s.tls_certificate.empty() != s.tls_key.empty()) {
    return absl::InvalidArgumentError(
        s.tls_key.empty() ? "--tls-cert: comes with --tls-key, the certificate's private key"
                          : "--tls-key: comes with --tls-cert, the key's certificate");
  }
  if (!s.tls_client_authority.empty() && !s.tls()) {
    return absl::InvalidArgumentError(
        "--tls-client-ca: clients show certificates over TLS only; give --tls-cert and --tls-key");
  }
  return absl::OkStatus();
}

absl::Status CheckServiceAddress(absl::string_view flag, const std::string& address,
                                 const ServerSecurity& s) {
  absl::StatusOr<HostPort> at = ParseHostPort(address);
  if (!at.ok()) return Annotate(at.status(), flag);
  if (IsLoopback(at->host) || s.insecure || (s.tls() && s.asks())) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      flag, ": ", address, " is reachable from other machines and ",
      s.tls() ? "nobody is asked who he is; add --access-file (tokens) or --tls-client-ca"
      : s.asks()
          ? "tokens would travel unencrypted; add --tls-cert and --tls-key"
          : "nobody is asked who he is; add --tls-cert, --tls-key and --access-file (tokens) or "
            "--tls-client-ca",
      ", listen on 127.0.0.1, or say --insecure on a network that you trust"));
}

absl::Status CheckMonitoringAddress(absl::string_view flag, const std::string& address,
                                    const ServerSecurity& s) {
  absl::StatusOr<HostPort> at = ParseHostPort(address);
  if (!at.ok()) return Annotate(at.status(), flag);
  if (IsLoopback(at->host) || s.insecure || s.public_monitoring) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      flag, ": ", address,
      " is reachable from other machines, and whoever asks there is answered; ",
      "listen on 127.0.0.1, or say --public-monitoring when names and figures of runs may be "
      "seen"));
}

}  // namespace tritter
