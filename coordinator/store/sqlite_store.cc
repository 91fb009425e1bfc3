#include "coordinator/store/sqlite_store.h"

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status_macros.h"
#include "coordinator/store/sql_schema.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(Env* env,
                                                               const std::string& data_dir,
                                                               SqliteStoreOptions options) {
  RETURN_IF_ERROR(env->CreateDirs(data_dir));
  ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock,
                   FileLock::Acquire(JoinPath(data_dir, "coordinator.lock")));
  ASSIGN_OR_RETURN(std::unique_ptr<SqliteDb> db,
                   SqliteDb::Open(JoinPath(data_dir, kSqliteStoreFile)));
  // The marker is looked at before anything is written, the journal mode included.
  ASSIGN_OR_RETURN(const SqlMarker marker, db->Marker());
  RETURN_IF_ERROR(CheckMarker(*db, marker));
  if (options.max_pages > 0)
    RETURN_IF_ERROR(db->Execute(absl::StrCat("PRAGMA max_page_count = ", options.max_pages)));
  RETURN_IF_ERROR(MigrateStore(db.get(), RandomId("store")));
  RETURN_IF_ERROR(db->UseWal());
  RETURN_IF_ERROR(db->Execute("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000"));
  return std::unique_ptr<SqliteStore>(
      new SqliteStore(std::move(lock), std::move(db), std::move(options.hook)));
}

}  // namespace tritter
