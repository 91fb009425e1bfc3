// Versioned schema of the SQLite store. A step is never edited once released: a change is a new
// step.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "coordinator/store/sqlite_db.h"

namespace tritter {

inline constexpr int64_t kStoreApplicationId = 0x54524954;  // "TRIT", in the header of the file

int64_t LatestSchemaVersion();

// Brings an empty or older store to the newest schema, each step in its own transaction together
// with its version number; up to `target` only (tests). Errors: FailedPrecondition when the file is
// another program's or was written by a newer version.
absl::Status MigrateStore(SqliteDb* db, const std::string& new_store_id,
                          int64_t target = LatestSchemaVersion());

}  // namespace tritter
