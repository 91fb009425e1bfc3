// Versioned schema of the SQL stores. A step is never edited once released: a change is a new step.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "coordinator/store/sql_database.h"

namespace tritter {

int64_t LatestSchemaVersion();

// FailedPrecondition when the database is another program's or was written by a newer version.
absl::Status CheckMarker(const SqlDatabase& db, const SqlMarker& marker);

// Brings an empty or older store to the newest schema, each step in its own transaction together
// with its version number; up to `target` only (tests). Errors: as CheckMarker.
absl::Status MigrateStore(SqlDatabase* db, const std::string& new_store_id,
                          int64_t target = LatestSchemaVersion());

}  // namespace tritter
