// Backup and restore: everything a store holds, from one database to another, whatever their
// kinds. One side is always a SQLite file, which is also what a backup is.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/env.h"
#include "coordinator/store/open_store.h"

namespace tritter {

struct CopiedStore {
  std::string store_id;
  int64_t schema_version = 0;  // of what was copied
  int64_t runs = 0, rows = 0;
};

// The store as it is at one moment, to the new file `path`, while a coordinator may be at work on
// it. The file is there, durable, when it returns OK, and not at all otherwise. Errors:
// AlreadyExists (the file), NotFound (no store there), FailedPrecondition (not a store of ours, or
// of another schema version than this program's), Unavailable, DataLoss, ResourceExhausted.
absl::StatusOr<CopiedStore> BackUpStore(Env* env, const StoreChoice& from, const std::string& path);

// A backup to a store that is empty or not there yet; it takes the identity of the backup. A
// backup of an older schema is migrated. All of it or nothing. `wait` as for AwaitStore: no
// coordinator may lead meanwhile. Errors: as above, FailedPrecondition (the store has rows, a
// coordinator leads it, the data folder belongs to another store).
absl::StatusOr<CopiedStore> RestoreStore(Env* env, const std::string& path, const StoreChoice& to,
                                         const std::function<bool(absl::Duration)>& wait);

}  // namespace tritter
