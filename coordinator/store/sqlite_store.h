// Store in one SQLite file: WAL, synchronous=FULL, one connection, one writer. The folder is locked
// for as long as the store is open, so that a second coordinator on it is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/env.h"
#include "common/file_lock.h"
#include "coordinator/store/sql_store.h"
#include "coordinator/store/sqlite_db.h"

namespace tritter {

struct SqliteStoreOptions {
  StoreHook hook;
  int64_t max_pages = 0;  // 0: as large as the disk allows; for tests of a full disk
};

inline constexpr char kSqliteStoreFile[] = "coordinator.db";

class SqliteStore : public SqlStore {
 public:
  // data_dir/coordinator.db, created with its folder when missing; data_dir/coordinator.lock is
  // held. Errors: FailedPrecondition (in use by another process, which is named; a file of another
  // program; a newer schema), ResourceExhausted, PermissionDenied, DataLoss.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(Env* env, const std::string& data_dir,
                                                           SqliteStoreOptions options = {});

 private:
  SqliteStore(std::unique_ptr<FileLock> lock, std::unique_ptr<SqliteDb> db, StoreHook hook)
      : SqlStore(std::move(db), std::move(hook), std::move(lock)) {}
};

}  // namespace tritter
