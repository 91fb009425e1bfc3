// SqlDatabase over a PostgreSQL server. Every write is fenced: its transaction begins by taking the
// row of the leader's term, so that a coordinator that was replaced can write nothing more, however
// late it wakes up. A broken connection is made again by the next call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/clock.h"
#include "coordinator/store/postgres/postgres_connection.h"
#include "coordinator/store/sql_database.h"

namespace tritter {

struct PostgresDbOptions {
  PostgresOptions connection;
  int64_t term = 0;  // writes are those of this leader (postgres_leader.h); 0: none are made
  // Called, from inside a call, once it is certain that nothing may be written any more.
  std::function<void(const absl::Status&)> on_lost;
  std::function<void(int socket)> after_commit_sent;  // for tests
};

// The words of a schema step as PostgreSQL knows them. Text is BYTEA: PostgreSQL's own cannot hold
// every string a client may send (a NUL), and sorts by locale.
std::string PostgresDdl(const std::string& sqlite_ddl);

// Not thread-safe. Errors as SqlDatabase; Unavailable with the reason NOT_LEADER when another
// coordinator leads. When the connection breaks while a commit is under way, the answer is looked
// up over a new connection: an error then says that nothing was changed, or, where the server stays
// away, that it is not known, and on_lost is called: what is in memory may be wrong.
class PostgresDb : public SqlDatabase {
 public:
  static absl::StatusOr<std::unique_ptr<PostgresDb>> Open(PostgresDbOptions options);

  const std::string& name() const override { return name_; }
  absl::Status Begin() override;
  absl::Status Run(absl::Span<const SqlStatement> statements) override;
  absl::Status Commit() override;
  void Rollback() override;
  absl::Status BeginSnapshot() override;
  absl::Status Select(const SqlStatement& query,
                      const std::function<absl::Status(const SqlRow&)>& each) override;
  absl::StatusOr<SqlMarker> Marker() override;
  absl::StatusOr<int64_t> Bytes() override;
  absl::Status ApplySchemaStep(const std::string& ddl, int64_t version) override;

 private:
  explicit PostgresDb(PostgresDbOptions options) : options_(std::move(options)) {}

  absl::Status Connect();
  absl::Status BeginOnce();
  absl::Status Lost();  // NOT_LEADER, with who leads
  // Whether the transaction numbered write_ was committed, asked over a new connection.
  absl::StatusOr<bool> WasCommitted();
  absl::Status FindOutCommit(const absl::Status& broken);

  const PostgresDbOptions options_;
  std::string name_;
  std::unique_ptr<PostgresConnection> connection_;  // null: to be made
  absl::Status away_;                               // of the last attempt to make it
  absl::Duration retry_at_;                         // Clock::Monotonic
  bool open_ = false;                               // a transaction
  int64_t write_ = 0;                               // number of the newest that began
};

// What every coordinator needs of the database before anyone leads: our schema and the rows of
// leader and fence. FailedPrecondition: the schema is another program's.
absl::Status MakeLeaderTables(PostgresConnection* connection);

// The one sentence and reason of a coordinator that leads no longer.
absl::Status NotLeaderError(const std::string& store, int64_t own_term, int64_t term,
                            const std::string& leader);

}  // namespace tritter
