// How a client shows who it is, and how it knows the server.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/mutex.h"

namespace tritter {

struct ClientSecurity {
  // Certificates that sign the server's (PEM), or "system" for those that the machine trusts;
  // empty: no TLS.
  std::string tls_authority;
  std::string tls_certificate, tls_key;  // the client's own, of mutual TLS; empty: none
  std::string tls_server_name;           // expected in the server's certificate; empty: the host
  std::string token_file;                // its first line; empty: no token
  std::string token;                     // where there is no file
  bool insecure = false;                 // tokens also travel unencrypted beyond loopback
  std::string flag_prefix = "--";        // of the flags that errors name: "--" of --tls-ca

  bool tls() const { return !tls_authority.empty(); }
};

inline constexpr char kSystemAuthorities[] = "system";

// The fields fit together, files can be read and are what they should be. InvalidArgument, and
// errors of Env for reading; no word of the token.
absl::Status CheckClientSecurity(Env* env, const ClientSecurity& security, absl::Time now);
// A connection to `address` (host:port) may be made: with a token only over TLS, to loopback, or
// when it is said to be insecure. InvalidArgument naming `flag`.
absl::Status CheckServerAddress(absl::string_view flag, const std::string& address,
                                const ClientSecurity& security);

// The token as it is now: its file is read again when it has changed, a second later at the latest;
// one that cannot be read changes nothing. Thread-safe.
class BearerToken {
 public:
  BearerToken(Env* env, Clock* clock, const ClientSecurity& security);
  // "Bearer …"; empty: there is none.
  std::string Authorization();

 private:
  Env* const env_;
  Clock* const clock_;
  const std::string file_;
  Mutex mu_;
  std::string token_ GUARDED_BY(mu_);
  absl::Duration looked_at_ GUARDED_BY(mu_) = -absl::InfiniteDuration();
};

// The token in the text of a file: its first line, without blanks around it. InvalidArgument naming
// the file when there is none.
absl::StatusOr<std::string> TokenIn(absl::string_view text, absl::string_view file);

}  // namespace tritter
