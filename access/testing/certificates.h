// Certificates for tests, made on the spot.
#pragma once

#include <openssl/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tritter {

struct PemPair {
  std::string certificate, key;
};

// An authority with a key of its own. Certificates are of P-256 keys.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "test authority");
  ~TestAuthority();

  const std::string& pem() const { return pem_; }
  // Good for clients and servers at `addresses` ("127.0.0.1") and `hosts`; valid from a day before
  // `now` for a day more than `valid`.
  PemPair Issue(const std::string& common_name, const std::vector<std::string>& hosts = {},
                const std::vector<std::string>& addresses = {"127.0.0.1"},
                absl::Time now = absl::Now(), absl::Duration valid = absl::Hours(24));

 private:
  EVP_PKEY* key_;
  X509* certificate_;
  std::string pem_;
  long serial_ = 1;
};

}  // namespace tritter
