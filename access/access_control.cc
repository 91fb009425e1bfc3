#include "access/access_control.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/short_text.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

constexpr absl::Duration kLookAgain = absl::Seconds(1);
constexpr absl::Duration kRefusalGap = absl::Seconds(1);  // a line of the log at most that often
constexpr absl::string_view kScheme = "Bearer ";

}  // namespace

absl::StatusOr<std::unique_ptr<AccessControl>> AccessControl::Open(Env* env, Clock* clock,
                                                                   AccessOptions options) {
  auto out = absl::WrapUnique(new AccessControl(env, clock, std::move(options)));
  MutexLock lock(&out->mu_);
  out->looked_at_ = clock->Monotonic();
  if (!out->options_.file.empty()) RETURN_IF_ERROR(out->ReadLocked());
  return out;
}

absl::Status AccessControl::ReadLocked() {
  ASSIGN_OR_RETURN(const std::string text, env_->ReadFile(options_.file));
  const Sha256Digest digest = Sha256(text);
  if (digest == read_) return understood_;
  absl::StatusOr<AccessList> list = ParseAccessFile(text, options_.file);
  read_ = digest;
  understood_ = list.status();
  RETURN_IF_ERROR(understood_);
  list_ = *std::move(list);
  LogInfo("access_file_read", {{"file", options_.file},
                               {"tokens", list_.tokens.size()},
                               {"certificates", list_.certificates.size()}});
  return absl::OkStatus();
}

void AccessControl::RefreshLocked() {
  const absl::Duration now = clock_->Monotonic();
  if (options_.file.empty() || now - looked_at_ < kLookAgain) return;
  looked_at_ = now;
  const absl::Status status = ReadLocked();
  if (status.ok()) {
    trouble_.clear();
    return;
  }
  if (trouble_ == status.message()) return;
  trouble_ = std::string(status.message());
  LogError("access_file_not_read",
           {{"file", options_.file}, {"error", trouble_}, {"kept", list_.tokens.size()}});
}

absl::StatusOr<Caller> AccessControl::IdentifyLocked(const Presented& presented) {
  if (!asks()) return Caller{"anyone", RoleSet::All(), presented.peer};
  const bool by_token = !options_.file.empty() && !presented.authorization.empty();
  if (by_token) {
    const absl::string_view text = presented.authorization;
    if (!absl::StartsWithIgnoreCase(text, kScheme)) {
      return absl::UnauthenticatedError(
          "the authorization of the call is none that is known here, expected \"Bearer TOKEN\"");
    }
    const TokenEntry* entry = FindToken(list_, text.substr(kScheme.size()));
    if (entry != nullptr) return Caller{entry->name, entry->roles, presented.peer};
    return absl::UnauthenticatedError(
        "the token of the call is not known here; it may have been withdrawn: ask who keeps the "
        "server's access file for another");
  }
  if (presented.certificate_names.empty()) {
    return absl::UnauthenticatedError(
        options_.file.empty()
            ? "the call comes without a certificate; connect with one that the server's authority "
              "has signed (--tls-cert, --tls-key)"
            : "the call carries no token; give one with --token-file or TRITTER_TOKEN_FILE, over "
              "HTTP with the header \"Authorization: Bearer TOKEN\"");
  }
  if (options_.file.empty())
    return Caller{presented.certificate_names.front(), RoleSet::All(), presented.peer};
  for (const std::string& name : presented.certificate_names) {
    for (const CertificateEntry& entry : list_.certificates) {
      if (entry.name == name) return Caller{entry.name, entry.roles, presented.peer};
    }
  }
  return absl::UnauthenticatedError(absl::StrCat(
      "the certificate of ", ShortText(absl::StrJoin(presented.certificate_names, ", ")),
      " has no entry in the server's access file, and the call carries no token"));
}

void AccessControl::NoteRefusal(const absl::Status& status, const Presented& presented,
                                absl::string_view call) {
  int64_t unsaid = 0;
  {
    MutexLock lock(&mu_);
    const absl::Duration now = clock_->Monotonic();
    if (now - refusal_said_at_ < kRefusalGap) {
      ++refusals_unsaid_;
      return;
    }
    refusal_said_at_ = now;
    unsaid = std::exchange(refusals_unsaid_, 0);
  }
  LogWarning("access_refused", {{"call", call},
                                {"peer", presented.peer},
                                {"why", std::string(status.message())},
                                {"others_not_logged", unsaid}});
}

absl::StatusOr<Caller> AccessControl::Identify(const Presented& presented) {
  absl::StatusOr<Caller> caller;
  {
    MutexLock lock(&mu_);
    RefreshLocked();
    caller = IdentifyLocked(presented);
  }
  if (!caller.ok()) NoteRefusal(caller.status(), presented, "");
  return caller;
}

absl::StatusOr<Caller> AccessControl::Admit(const Presented& presented, Role needed,
                                            absl::string_view call) {
  absl::StatusOr<Caller> caller;
  {
    MutexLock lock(&mu_);
    RefreshLocked();
    caller = IdentifyLocked(presented);
  }
  if (caller.ok() && !caller->roles.Has(needed)) {
    caller = absl::PermissionDeniedError(absl::StrCat(
        call, " takes the role ", RoleName(needed), ", ", caller->name,
        " has: ", caller->roles.ToString(), "; ask who keeps the server's access file"));
  }
  if (!caller.ok()) NoteRefusal(caller.status(), presented, call);
  return caller;
}

}  // namespace tritter
