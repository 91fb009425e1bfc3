// SHA-256 (FIPS 180-4) through OpenSSL.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env.h"

namespace tritter {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256Hasher {
 public:
  Sha256Hasher();
  ~Sha256Hasher();
  Sha256Hasher(const Sha256Hasher&) = delete;
  Sha256Hasher& operator=(const Sha256Hasher&) = delete;
  void Update(const void* data, size_t size);
  void Update(absl::string_view data) { Update(data.data(), data.size()); }
  Sha256Digest Finish();  // once

 private:
  void* context_;  // EVP_MD_CTX
};

Sha256Digest Sha256(absl::string_view data);
std::string Hex(const Sha256Digest& digest);  // 64 lower-case characters
std::string Sha256Hex(absl::string_view data);
absl::StatusOr<std::string> Sha256HexOfFile(Env* env, const std::string& path);
// The digest as a big-endian integer modulo m (held-out rule: document is held out when mod 1000 <
// k).
uint32_t DigestMod(const Sha256Digest& digest, uint32_t m);

}  // namespace tritter
