#include "common/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "common/status_macros.h"

namespace tritter {

Sha256Hasher::Sha256Hasher() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr);
}

Sha256Hasher::~Sha256Hasher() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void Sha256Hasher::Update(const void* data, size_t size) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data, size);
}

Sha256Digest Sha256Hasher::Finish() {
  Sha256Digest digest{};
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest.data(), nullptr);
  return digest;
}

Sha256Digest Sha256(absl::string_view data) {
  Sha256Hasher hasher;
  hasher.Update(data);
  return hasher.Finish();
}

std::string Hex(const Sha256Digest& digest) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string Sha256Hex(absl::string_view data) { return Hex(Sha256(data)); }

absl::StatusOr<std::string> Sha256HexOfFile(Env* env, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, env->MapFile(path));
  Sha256Hasher hasher;
  hasher.Update(file->bytes().data(), file->bytes().size());
  return Hex(hasher.Finish());
}

uint32_t DigestMod(const Sha256Digest& digest, uint32_t m) {
  uint64_t rest = 0;
  for (uint8_t byte : digest) rest = (rest << 8 | byte) % m;
  return static_cast<uint32_t>(rest);
}

}  // namespace tritter
