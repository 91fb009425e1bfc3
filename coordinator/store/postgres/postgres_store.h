// Store in a PostgreSQL database, for the coordinator that leads (postgres_leader.h).
#pragma once

#include <functional>
#include <memory>

#include "coordinator/store/postgres/postgres_leader.h"
#include "coordinator/store/sql_store.h"

namespace tritter {

struct PostgresStoreOptions {
  StoreHook hook;                                     // for tests
  std::function<void(int socket)> after_commit_sent;  // for tests
};

// Migrates the schema when it is older. `leader` leads, and outlives the store. Errors:
// FailedPrecondition (another program's tables, a newer schema), Unavailable, PermissionDenied.
absl::StatusOr<std::unique_ptr<SqlStore>> OpenPostgresStore(PostgresLeader* leader,
                                                            PostgresStoreOptions options = {});

}  // namespace tritter
