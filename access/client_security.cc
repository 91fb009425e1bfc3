#include "access/client_security.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "access/access_file.h"
#include "access/tls_files.h"
#include "common/net.h"
#include "common/status_macros.h"

namespace tritter {
namespace {
constexpr absl::Duration kLookAgain = absl::Seconds(1);
}  // namespace

absl::StatusOr<std::string> TokenIn(absl::string_view text, absl::string_view file) {
  const absl::string_view line = absl::StripAsciiWhitespace(text.substr(0, text.find('\n')));
  if (IsToken(line)) return std::string(line);
  return absl::InvalidArgumentError(absl::StrCat(
      file, ": the first line is no token: expected ", kMinTokenLength, " to ", kMaxTokenLength,
      " printable characters without blanks and quotes, it has ", line.size()));
}

absl::Status CheckClientSecurity(Env* env, const ClientSecurity& s, absl::Time now) {
  const std::string& f = s.flag_prefix;
  if (s.tls_certificate.empty() != s.tls_key.empty()) {
    return absl::InvalidArgumentError(
        s.tls_key.empty()
            ? absl::StrCat(f, "tls-cert: comes with ", f, "tls-key, the certificate's private key")
            : absl::StrCat(f, "tls-key: comes with ", f, "tls-cert, the key's certificate"));
  }
  if (!s.tls_certificate.empty() && !s.tls()) {
    return absl::InvalidArgumentError(
        absl::StrCat(f, "tls-cert: is shown over TLS only; give ", f,
                     "tls-ca, the certificates that sign the server's"));
  }
  if (!s.tls_server_name.empty() && !s.tls()) {
    return absl::InvalidArgumentError(
        absl::StrCat(f, "tls-server-name: a server has a name over TLS only; give ", f, "tls-ca"));
  }
  const std::string authority = s.tls_authority == kSystemAuthorities ? "" : s.tls_authority;
  RETURN_IF_ERROR(CheckTlsFiles(env, {s.tls_certificate, s.tls_key, authority}, now));
  if (!s.token_file.empty()) {
    ASSIGN_OR_RETURN(const std::string text, env->ReadFile(s.token_file));
    return TokenIn(text, s.token_file).status();
  }
  return s.token.empty() ? absl::OkStatus() : TokenIn(s.token, "TRITTER_TOKEN").status();
}

absl::Status CheckServerAddress(absl::string_view flag, const std::string& address,
                                const ClientSecurity& s) {
  absl::StatusOr<HostPort> at = ParseHostPort(address);
  if (!at.ok()) return Annotate(at.status(), flag);
  if (s.tls() || s.insecure || IsLoopback(at->host)) return absl::OkStatus();
  if (s.token.empty() && s.token_file.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": the token would travel unencrypted to ", address, "; give ",
                   s.flag_prefix, "tls-ca, the certificates that sign the server's, or say ",
                   s.flag_prefix, "insecure on a network that you trust"));
}

BearerToken::BearerToken(Env* env, Clock* clock, const ClientSecurity& security)
    : env_(env), clock_(clock), file_(security.token_file), token_(security.token) {}

std::string BearerToken::Authorization() {
  MutexLock lock(&mu_);
  const absl::Duration now = clock_->Monotonic();
  if (!file_.empty() && now - looked_at_ >= kLookAgain) {
    looked_at_ = now;
    absl::StatusOr<std::string> text = env_->ReadFile(file_);
    absl::StatusOr<std::string> token = text.ok() ? TokenIn(*text, file_) : text.status();
    if (token.ok()) token_ = *std::move(token);
  }
  return token_.empty() ? "" : absl::StrCat("Bearer ", token_);
}

}  // namespace tritter
