#include "access/access_file.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/nearest_word.h"
#include "common/status_macros.h"
#include "common/yaml.h"

namespace tritter {
namespace {

constexpr size_t kMaxName = 128;

void ReadName(YamlMap entry, std::string* name) {
  entry.Require("name");
  if (!entry.Get("name", name)) return;
  const bool good = !name->empty() && name->size() <= kMaxName &&
                    std::all_of(name->begin(), name->end(),
                                [](unsigned char c) { return absl::ascii_isgraph(c); });
  if (!good) {
    entry.Error("name",
                absl::StrCat("expected 1 to ", kMaxName,
                             " printable characters without blanks, it has ", name->size()));
  }
}

void ReadRoles(YamlMap entry, RoleSet* roles) {
  entry.Require("roles");
  std::vector<std::string> names;
  if (!entry.Get("roles", &names)) return;
  if (names.empty()) entry.Error("roles", "expected at least one role");
  for (const std::string& name : names) {
    if (const std::optional<Role> role = ParseRole(name)) {
      roles->Add(*role);
      continue;
    }
    const std::string nearest = NearestWord(name, RoleNames());
    entry.Error("roles", absl::StrCat("no role is called \"", absl::CHexEscape(name.substr(0, 40)),
                                      "\", there are ", absl::StrJoin(RoleNames(), ", "),
                                      nearest.empty() ? "" : " (did you mean ", nearest,
                                      nearest.empty() ? "" : "?)"));
  }
}

bool FromHex(absl::string_view text, Sha256Digest* digest) {
  if (text.size() != 2 * digest->size() ||
      !std::all_of(text.begin(), text.end(),
                   [](unsigned char c) { return absl::ascii_isxdigit(c); })) {
    return false;
  }
  const std::string bytes = absl::HexStringToBytes(text);
  std::copy(bytes.begin(), bytes.end(), digest->begin());
  return true;
}

void ReadSecret(YamlMap entry, Sha256Digest* digest) {
  std::string hash, token;
  const bool hashed = entry.Get("sha256", &hash), plain = entry.Get("token", &token);
  if (entry.Has("sha256") == entry.Has("token")) {
    entry.Error("", "expected either sha256 or token");
  } else if (hashed && !FromHex(hash, digest)) {
    entry.Error("sha256", absl::StrCat("expected the token's SHA-256, 64 hexadecimal digits, got ",
                                       hash.size(), " characters"));
  } else if (plain && !IsToken(token)) {
    entry.Error("token", absl::StrCat("expected ", kMinTokenLength, " to ", kMaxTokenLength,
                                      " printable characters without blanks and quotes, it has ",
                                      token.size(), "; `tritterctl token` makes one"));
  } else if (plain) {
    *digest = Sha256(token);
  }
}

// What YAML says of a value that is no text quotes it: here it would be a token, or its hash.
absl::Status WithoutSecrets(const absl::Status& status) {
  std::vector<std::string> lines = absl::StrSplit(status.message(), '\n');
  for (std::string& line : lines) {
    for (const absl::string_view key : {"token: ", "sha256: "}) {
      const size_t at = line.find(absl::StrCat("].", key));
      if (at == std::string::npos || line.find("printable characters", at) != std::string::npos ||
          line.find("hexadecimal digits", at) != std::string::npos ||
          line.find("another entry", at) != std::string::npos)
        continue;
      line = absl::StrCat(line.substr(0, at + 2), key, "expected text; put it in quotes");
    }
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

}  // namespace

bool IsToken(absl::string_view text) {
  return text.size() >= kMinTokenLength && text.size() <= kMaxTokenLength &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isgraph(c) && c != '"' && c != '\'';
         });
}

absl::StatusOr<AccessList> ParseAccessFile(absl::string_view text, absl::string_view file_name) {
  ASSIGN_OR_RETURN(YamlDocument document, YamlDocument::Parse(text, file_name));
  AccessList list;
  YamlMap root = document.Root();
  std::set<Sha256Digest> seen;
  for (YamlMap& entry : root.MapList("tokens")) {
    TokenEntry& token = list.tokens.emplace_back();
    ReadName(entry, &token.name);
    ReadRoles(entry, &token.roles);
    token.digest = {};
    ReadSecret(entry, &token.digest);
    if (token.digest != Sha256Digest{} && !seen.insert(token.digest).second)
      entry.Error(entry.Has("token") ? "token" : "sha256", "another entry has the same token");
  }
  std::set<std::string> names;
  for (YamlMap& entry : root.MapList("certificates")) {
    CertificateEntry& certificate = list.certificates.emplace_back();
    ReadName(entry, &certificate.name);
    ReadRoles(entry, &certificate.roles);
    if (!names.insert(certificate.name).second)
      entry.Error("name", "another entry has the same certificate");
  }
  if (list.tokens.empty() && list.certificates.empty())
    root.Error("", "nobody may do anything: expected entries under tokens or certificates");
  if (absl::Status status = document.Finish(); !status.ok()) return WithoutSecrets(status);
  return list;
}

const TokenEntry* FindToken(const AccessList& list, absl::string_view token) {
  const Sha256Digest digest = Sha256(token.substr(0, kMaxTokenLength + 1));
  const TokenEntry* found = nullptr;
  for (const TokenEntry& entry : list.tokens) {
    const bool same = CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0;
    found = same ? &entry : found;
  }
  return found;
}

}  // namespace tritter
