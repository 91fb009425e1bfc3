// The file that says who may do what:
//
//   tokens:
//     - {name: alice, roles: [submit, operate], sha256: 9f86d081…}  # of the token, 64 hex digits
//     - {name: trainer, roles: [worker], token: "in-plain-text, at least 20 characters"}
//   certificates:                        # of mutual TLS: common name or a DNS name of the
//   certificate
//     - {name: gpu7.example.org, roles: [worker]}
//
// Tokens are random: their SHA-256 needs no salt, since nobody can guess what to hash.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "access/roles.h"
#include "common/sha256.h"

namespace tritter {

struct TokenEntry {
  std::string name;
  RoleSet roles;
  Sha256Digest digest;
};

struct CertificateEntry {
  std::string name;
  RoleSet roles;
};

struct AccessList {
  std::vector<TokenEntry> tokens;
  std::vector<CertificateEntry> certificates;
};

inline constexpr size_t kMinTokenLength = 20;   // 120 bits of base64
inline constexpr size_t kMaxTokenLength = 512;  // characters

// InvalidArgument with file:line:column and no word of a token: errors are logged.
absl::StatusOr<AccessList> ParseAccessFile(absl::string_view text, absl::string_view file_name);

// Printable ASCII without blanks and quotes, of a length in the bounds above.
bool IsToken(absl::string_view text);

// The entry of `token`, or null. Takes equally long whichever entry it is, and when there is none.
const TokenEntry* FindToken(const AccessList& list, absl::string_view token);

}  // namespace tritter
