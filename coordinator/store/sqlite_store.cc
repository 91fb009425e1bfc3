#include "coordinator/store/sqlite_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "coordinator/store/sqlite_schema.h"
#include "coordinator/store/sqlite_writes.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(Env* env,
                                                               const std::string& data_dir,
                                                               SqliteStoreOptions options) {
  RETURN_IF_ERROR(env->CreateDirs(data_dir));
  ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock,
                   FileLock::Acquire(JoinPath(data_dir, "coordinator.lock")));
  ASSIGN_OR_RETURN(std::unique_ptr<SqliteDb> db,
                   SqliteDb::Open(JoinPath(data_dir, "coordinator.db")));
  // The marker is looked at before anything is written, the journal mode included.
  ASSIGN_OR_RETURN(const int64_t application, db->Pragma("application_id"));
  if (application == kStoreApplicationId || application == 0) {
    if (options.max_pages > 0) {
      RETURN_IF_ERROR(db->Execute(absl::StrCat("PRAGMA max_page_count = ", options.max_pages)));
    }
  }
  RETURN_IF_ERROR(MigrateStore(db.get(), RandomId("store")));
  RETURN_IF_ERROR(db->UseWal());
  RETURN_IF_ERROR(db->Execute("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000"));
  return std::unique_ptr<SqliteStore>(
      new SqliteStore(std::move(lock), std::move(db), std::move(options)));
}

absl::Status SqliteStore::Hook(absl::string_view point) {
  return options_.hook ? options_.hook(point) : absl::OkStatus();
}

absl::Status SqliteStore::WriteLocked(const WriteBatch& batch) {
  RETURN_IF_ERROR(WriteBatchStatements(db_.get(), batch, [this] { return Hook("statement"); }));
  RETURN_IF_ERROR(Hook("commit"));
  return db_->Execute("COMMIT");
}

absl::Status SqliteStore::Apply(const WriteBatch& batch) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(db_->Execute("BEGIN IMMEDIATE"));
  if (absl::Status status = WriteLocked(batch); !status.ok()) {
    // Fails when SQLite has rolled back by itself, as it does on a full disk.
    if (sqlite3_get_autocommit(db_->handle()) == 0) db_->Execute("ROLLBACK").IgnoreError();
    return status;
  }
  return Hook("committed");
}

}  // namespace tritter
