// The statements of a WriteBatch for SQLite.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "coordinator/store/sqlite_db.h"
#include "coordinator/store/store.h"

namespace tritter {

// Runs inside the caller's transaction. `before_each` is called before every statement; its error
// ends the work.
absl::Status WriteBatchStatements(SqliteDb* db, const WriteBatch& batch,
                                  const std::function<absl::Status()>& before_each);

}  // namespace tritter
