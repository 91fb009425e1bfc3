#include "coordinator/store/postgres/postgres_store.h"

#include <utility>

#include "common/random.h"
#include "common/status_macros.h"
#include "coordinator/store/postgres/postgres_db.h"
#include "coordinator/store/sql_schema.h"

namespace tritter {

absl::StatusOr<std::unique_ptr<SqlStore>> OpenPostgresStore(PostgresLeader* leader,
                                                            PostgresStoreOptions options) {
  PostgresDbOptions db_options;
  db_options.connection = leader->WriterConnection();
  db_options.term = leader->term();
  db_options.on_lost = [leader](const absl::Status& why) { leader->Lose(why); };
  db_options.after_commit_sent = std::move(options.after_commit_sent);
  ASSIGN_OR_RETURN(std::unique_ptr<PostgresDb> db, PostgresDb::Open(std::move(db_options)));
  RETURN_IF_ERROR(MigrateStore(db.get(), RandomId("store")));
  return std::make_unique<SqlStore>(std::move(db), std::move(options.hook));
}

}  // namespace tritter
