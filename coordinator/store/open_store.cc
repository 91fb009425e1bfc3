#include "coordinator/store/open_store.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/store/postgres/postgres_connection.h"
#include "coordinator/store/postgres/postgres_store.h"
#include "coordinator/store/repeated_warning.h"
#include "coordinator/store/sqlite_store.h"

namespace tritter {
namespace {

constexpr absl::Duration kTryAgain = absl::Milliseconds(500);

absl::StatusOr<std::unique_ptr<OpenedStore>> OpenLed(Env* env, const StoreChoice& choice,
                                                     std::unique_ptr<PostgresLeader> leader) {
  ASSIGN_OR_RETURN(std::unique_ptr<SqlStore> store, OpenPostgresStore(leader.get()));
  ASSIGN_OR_RETURN(const std::string id, store->StoreId());
  RETURN_IF_ERROR(MarkDataDir(env, choice.data_dir, id));
  return std::make_unique<OpenedStore>(std::move(leader), std::move(store));
}

}  // namespace

absl::Status MarkDataDir(Env* env, const std::string& data_dir, const std::string& store_id) {
  RETURN_IF_ERROR(env->CreateDirs(data_dir));
  const std::string path = JoinPath(data_dir, "store-id");
  if (!env->Exists(path)) return WriteFileAtomically(env, path, store_id + "\n");
  ASSIGN_OR_RETURN(const std::string text, env->ReadFile(path));
  const std::string found(absl::StripAsciiWhitespace(text));
  if (found == store_id) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(path, " names the store ", found,
                                                    ", the one that --store names is ", store_id,
                                                    "; give the --data-dir of that store"));
}

absl::Status CheckStoreChoice(const StoreChoice& choice) {
  if (choice.shared()) return Annotate(CheckPostgresAddress(choice.store), "--store");
  if (choice.password_file.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "--store-password-file: is for a PostgreSQL store; give --store postgresql://…");
}

absl::StatusOr<std::unique_ptr<OpenedStore>> AwaitStore(
    Env* env, const StoreChoice& choice, const std::function<bool(absl::Duration)>& wait,
    const std::function<void(const std::string&)>& on_standby) {
  if (!choice.shared()) {
    ASSIGN_OR_RETURN(std::unique_ptr<SqliteStore> store, SqliteStore::Open(env, choice.data_dir));
    return std::make_unique<OpenedStore>(nullptr, std::move(store));
  }
  LeaderOptions options;
  options.connection.address = choice.store;
  options.connection.password_file = choice.password_file;
  options.holder = choice.holder;
  auto leader = std::make_unique<PostgresLeader>(options);
  Clock* const clock = Clock::Real();  // of the log alone
  RepeatedWarning away;
  std::string logged;
  const auto warn = [&](const std::string& why) {
    const absl::Duration now = clock->Monotonic();
    if (away.Due(now)) {
      LogWarning("store_away",
                 {{"why", why},
                  {"for", absl::FormatDuration(absl::Trunc(away.Since(now), absl::Seconds(1)))},
                  {"next",
                   "it is tried again twice a second; check that PostgreSQL runs there, "
                   "that its port can be reached from here, and host and port of "
                   "--store"}});
    }
    on_standby(why);
  };
  const auto stand_by = [&](const std::string& why, const std::string& detail) {
    away.Clear();
    if (why != logged) LogInfo("standby", {{"why", why}});
    logged = why;
    on_standby(detail.empty() ? why : absl::StrCat(why, ", ", detail));
  };
  do {
    const absl::StatusOr<bool> leads = leader->TryLead();
    if (leads.ok() && *leads) {
      absl::StatusOr<std::unique_ptr<OpenedStore>> opened = OpenLed(env, choice, std::move(leader));
      if (opened.ok() || !absl::IsUnavailable(opened.status())) return opened;
      warn(std::string(opened.status().message()));
      leader = std::make_unique<PostgresLeader>(options);
    } else if (leads.ok()) {
      stand_by(leader->Leader(), leader->LastHeard());
    } else if (absl::IsUnavailable(leads.status())) {
      warn(std::string(leads.status().message()));
    } else {
      return leads.status();
    }
  } while (!wait(kTryAgain));
  return nullptr;
}

}  // namespace tritter
