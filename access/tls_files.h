// Certificates and keys in PEM files, looked at before anybody relies on them: what OpenSSL and
// gRPC say of a bad one names neither file nor reason.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/env.h"

namespace tritter {

struct TlsFiles {
  std::string certificate;  // chain, the own one first; with its key, or both empty
  std::string key;
  std::string authority;  // certificates that may sign the other side's; empty: none is asked for
};

// Every file that is named can be read and is what it should be, the key belongs to the
// certificate, which is valid at `now`. Errors name the file: InvalidArgument, those of Env for
// reading.
absl::Status CheckTlsFiles(Env* env, const TlsFiles& files, absl::Time now);

}  // namespace tritter
