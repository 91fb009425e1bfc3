// Who calls, and whether he may.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "access/access_file.h"
#include "access/roles.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/mutex.h"

namespace tritter {

// What a call shows of its sender.
struct Presented {
  std::string authorization;                   // "Bearer …", or empty
  std::vector<std::string> certificate_names;  // of the verified certificate of mutual TLS
  std::string peer;                            // address, for people
};

struct Caller {
  std::string name;  // of the entry of the access file or of the certificate; "anyone"
  RoleSet roles;
  std::string peer;
};

struct AccessOptions {
  std::string file;                  // access_file.h; empty: none
  bool client_certificates = false;  // of mutual TLS are verified
};

// With neither file nor certificates everybody may do everything. With certificates alone everybody
// whose certificate was verified. With a file who has an entry in it; a token goes before a
// certificate. The file is read again when it has changed, at the latest a second later; one that
// cannot be read or understood changes nothing, and is logged. Thread-safe.
class AccessControl {
 public:
  // Errors: those of reading the file and of ParseAccessFile.
  static absl::StatusOr<std::unique_ptr<AccessControl>> Open(Env* env, Clock* clock,
                                                             AccessOptions options);

  // Unauthenticated: no token or certificate, or none that is known.
  absl::StatusOr<Caller> Identify(const Presented& presented);
  // The same, and PermissionDenied naming `call`, the role it takes and those the caller has.
  absl::StatusOr<Caller> Admit(const Presented& presented, Role needed, absl::string_view call);

  // False: everybody may do everything.
  bool asks() const { return !options_.file.empty() || options_.client_certificates; }

 private:
  AccessControl(Env* env, Clock* clock, AccessOptions options)
      : env_(env), clock_(clock), options_(std::move(options)) {}
  absl::Status ReadLocked() REQUIRES(mu_);
  void RefreshLocked() REQUIRES(mu_);
  absl::StatusOr<Caller> IdentifyLocked(const Presented& presented) REQUIRES(mu_);
  void NoteRefusal(const absl::Status& status, const Presented& presented, absl::string_view call);

  Env* const env_;
  Clock* const clock_;
  const AccessOptions options_;
  Mutex mu_;
  AccessList list_ GUARDED_BY(mu_);
  Sha256Digest read_ GUARDED_BY(mu_) = {};   // of the file's newest text
  absl::Status understood_ GUARDED_BY(mu_);  // that text
  absl::Duration looked_at_ GUARDED_BY(mu_);
  std::string trouble_ GUARDED_BY(mu_);  // said already
  absl::Duration refusal_said_at_ GUARDED_BY(mu_) = -absl::InfiniteDuration();
  int64_t refusals_unsaid_ GUARDED_BY(mu_) = 0;
};

}  // namespace tritter
