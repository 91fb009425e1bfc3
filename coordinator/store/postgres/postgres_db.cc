#include "coordinator/store/postgres/postgres_db.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"
#include "coordinator/errors.h"

namespace tritter {
namespace {

constexpr absl::Duration kReconnectPause = absl::Seconds(1);
constexpr absl::Duration kFindOut = absl::Seconds(10);
constexpr absl::Duration kFindOutPause = absl::Milliseconds(200);

absl::StatusOr<int64_t> Number(PostgresConnection* connection, const SqlStatement& query) {
  int64_t out = 0;
  RETURN_IF_ERROR(connection->Select(query, [&](const SqlRow& row) {
    out = row.Int(0);
    return absl::OkStatus();
  }));
  return out;
}

}  // namespace

std::string PostgresDdl(const std::string& sqlite_ddl) {
  return absl::StrReplaceAll(sqlite_ddl,
                             {{" INTEGER PRIMARY KEY AUTOINCREMENT", " BIGINT PRIMARY KEY"},
                              {" INTEGER", " BIGINT"},
                              {" TEXT", " BYTEA"},
                              {" BLOB", " BYTEA"},
                              {" WITHOUT ROWID", ""}});
}

absl::Status NotLeaderError(const std::string& store, int64_t own_term, int64_t term,
                            const std::string& leader) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::NOT_LEADER);
  detail.set_field("term");
  detail.set_actual(absl::StrCat(own_term));
  detail.set_expected(absl::StrCat(term));
  detail.set_hint("ask the coordinator that leads");
  return TypedError(
      absl::StatusCode::kUnavailable, detail,
      absl::StrCat("store ", store, ": ", leader, " leads in term ", term,
                   ", this coordinator led in term ", own_term, " and can write nothing more"));
}

absl::Status MakeLeaderTables(PostgresConnection* connection) {
  // One at a time: two at once would trip over each other's CREATE.
  RETURN_IF_ERROR(connection->Execute("BEGIN; SELECT pg_advisory_xact_lock(1414678868, 2)"));
  const auto make = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t schemas,
                     Number(connection, {"SELECT count(*) FROM pg_namespace WHERE nspname = "
                                         "'tritter'",
                                         {}}));
    if (schemas == 0) RETURN_IF_ERROR(connection->Execute("CREATE SCHEMA tritter"));
    ASSIGN_OR_RETURN(const int64_t tables,
                     Number(connection, {"SELECT count(*) FROM pg_tables WHERE schemaname = "
                                         "'tritter'",
                                         {}}));
    ASSIGN_OR_RETURN(const int64_t ours,
                     Number(connection, {"SELECT count(*) FROM pg_tables WHERE schemaname = "
                                         "'tritter' AND tablename IN ('leader', 'fence')",
                                         {}}));
    if (ours == 2) return absl::OkStatus();
    if (tables > 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("store ", connection->name(), ": the schema \"tritter\" has ", tables,
                       " tables of another program; give another database to --store"));
    }
    return connection->Execute(
        "CREATE TABLE leader (id BIGINT PRIMARY KEY, term BIGINT NOT NULL, holder BYTEA NOT NULL, "
        "renewed TIMESTAMPTZ NOT NULL);"
        "CREATE TABLE fence (id BIGINT PRIMARY KEY, term BIGINT NOT NULL, write BIGINT NOT NULL);"
        "INSERT INTO leader VALUES (1, 0, 'nobody', to_timestamp(0));"
        "INSERT INTO fence VALUES (1, 0, 0)");
  };
  absl::Status status = make();
  if (status.ok()) return connection->Execute("COMMIT");
  if (!connection->broken()) connection->Execute("ROLLBACK").IgnoreError();
  return status;
}

absl::StatusOr<std::unique_ptr<PostgresDb>> PostgresDb::Open(PostgresDbOptions options) {
  std::unique_ptr<PostgresDb> out(new PostgresDb(std::move(options)));
  RETURN_IF_ERROR(out->Connect());
  return out;
}

absl::Status PostgresDb::Connect() {
  if (connection_ != nullptr && !connection_->broken()) return absl::OkStatus();
  connection_ = nullptr;
  open_ = false;
  const absl::Duration now = Clock::Real()->Monotonic();
  if (!away_.ok() && now < retry_at_) return away_;
  absl::StatusOr<std::unique_ptr<PostgresConnection>> connection =
      PostgresConnection::Open(options_.connection);
  away_ = connection.status();
  if (!away_.ok()) {
    retry_at_ = Clock::Real()->Monotonic() + kReconnectPause;
    return away_;
  }
  connection_ = *std::move(connection);
  connection_->after_commit_sent = options_.after_commit_sent;
  name_ = connection_->name();
  return absl::OkStatus();
}

absl::Status PostgresDb::Lost() {
  int64_t term = 0;
  std::string leader = "another coordinator";
  connection_
      ->Select({"SELECT term, holder FROM leader WHERE id = 1", {}},
               [&](const SqlRow& row) {
                 term = row.Int(0);
                 leader = row.Bytes(1);
                 return absl::OkStatus();
               })
      .IgnoreError();
  absl::Status status = NotLeaderError(name_, options_.term, term, leader);
  if (options_.on_lost) options_.on_lost(status);
  return status;
}

absl::Status PostgresDb::BeginOnce() {
  RETURN_IF_ERROR(Connect());
  RETURN_IF_ERROR(connection_->Execute("BEGIN"));
  open_ = true;
  int64_t number = 0;
  RETURN_IF_ERROR(connection_->Select(
      {"UPDATE fence SET write = write + 1 WHERE id = 1 AND term = $1 RETURNING write",
       {options_.term}},
      [&](const SqlRow& row) {
        number = row.Int(0);
        return absl::OkStatus();
      }));
  if (number == 0) {
    Rollback();
    return Lost();
  }
  write_ = number;
  return absl::OkStatus();
}

absl::Status PostgresDb::Begin() {
  if (options_.term == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("store ", name_, " is open for reading only: nobody leads here"));
  }
  absl::Status status = BeginOnce();
  // An idle connection that broke is noticed by its first use; nothing was done yet.
  if (!status.ok() && connection_ != nullptr && connection_->broken()) status = BeginOnce();
  if (!status.ok()) Rollback();
  return status;
}

absl::Status PostgresDb::Run(absl::Span<const SqlStatement> statements) {
  if (!open_) return absl::FailedPreconditionError("no transaction is open");
  return connection_->Run(statements);
}

absl::Status PostgresDb::Commit() {
  if (!open_) return absl::FailedPreconditionError("no transaction is open");
  open_ = false;
  std::string tag;
  absl::Status status = connection_->Execute("COMMIT", &tag);
  if (status.ok() && tag != "COMMIT") {
    return absl::InternalError(absl::StrCat("store ", name_, ": the commit became a ", tag));
  }
  if (status.ok() || !connection_->broken()) return status;
  return FindOutCommit(status);
}

absl::Status PostgresDb::FindOutCommit(const absl::Status& broken) {
  const absl::Duration until = Clock::Real()->Monotonic() + kFindOut;
  while (true) {
    absl::StatusOr<bool> committed = WasCommitted();
    if (committed.ok() && *committed) return absl::OkStatus();
    if (committed.ok()) {
      return absl::UnavailableError(
          absl::StrCat(std::string(broken.message()), "; nothing was changed"));
    }
    if (DetailOf(committed.status()).has_value()) return committed.status();  // NOT_LEADER
    if (Clock::Real()->Monotonic() > until) break;
    Clock::Real()->Sleep(kFindOutPause);
  }
  absl::Status unknown = absl::UnavailableError(
      absl::StrCat(std::string(broken.message()), "; the server stayed away for ",
                   absl::FormatDuration(kFindOut),
                   ": whether the last write is there is not "
                   "known, so this coordinator starts again from the store"));
  if (options_.on_lost) options_.on_lost(unknown);
  return unknown;
}

absl::StatusOr<bool> PostgresDb::WasCommitted() {
  retry_at_ = absl::ZeroDuration();
  RETURN_IF_ERROR(Connect());
  int64_t term = 0, number = 0;
  // Waits for the row: the server may still be at work on what it was sent.
  RETURN_IF_ERROR(connection_->Select({"SELECT term, write FROM fence WHERE id = 1 FOR UPDATE", {}},
                                      [&](const SqlRow& row) {
                                        term = row.Int(0);
                                        number = row.Int(1);
                                        return absl::OkStatus();
                                      }));
  if (term != options_.term) return Lost();
  return number >= write_;
}

void PostgresDb::Rollback() {
  if (open_ && connection_ != nullptr && !connection_->broken())
    connection_->Execute("ROLLBACK").IgnoreError();
  open_ = false;
}

absl::Status PostgresDb::BeginSnapshot() {
  RETURN_IF_ERROR(Connect());
  RETURN_IF_ERROR(connection_->Execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
  open_ = true;
  return absl::OkStatus();
}

absl::Status PostgresDb::Select(const SqlStatement& query,
                                const std::function<absl::Status(const SqlRow&)>& each) {
  if (open_) return connection_->Select(query, each);
  RETURN_IF_ERROR(Connect());
  bool any = false;
  const auto noted = [&](const SqlRow& row) {
    any = true;
    return each(row);
  };
  absl::Status status = connection_->Select(query, noted);
  if (status.ok() || any || !connection_->broken()) return status;
  RETURN_IF_ERROR(Connect());  // see Begin
  return connection_->Select(query, each);
}

absl::StatusOr<int64_t> PostgresDb::Bytes() {
  int64_t bytes = 0;
  RETURN_IF_ERROR(
      SelectOne(this,
                {absl::StrCat("SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM "
                              "pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
                              "WHERE n.nspname = '",
                              kPostgresSchema, "' AND c.relkind = 'r'"),
                 {}},
                [&](const SqlRow& row) { bytes = row.Int(0); })
          .status());
  return bytes;
}

absl::StatusOr<SqlMarker> PostgresDb::Marker() {
  SqlMarker out;
  int64_t others = 0, marked = 0;
  RETURN_IF_ERROR(SelectOne(this,
                            {"SELECT count(*), count(*) FILTER (WHERE tablename = "
                             "'schema_version') FROM pg_tables WHERE schemaname = 'tritter' AND "
                             "tablename NOT IN ('leader', 'fence')",
                             {}},
                            [&](const SqlRow& row) {
                              others = row.Int(0);
                              marked = row.Int(1);
                            })
                      .status());
  out.empty = others == 0;
  if (marked == 0) return out;
  RETURN_IF_ERROR(SelectOne(this, {"SELECT application, version FROM schema_version", {}},
                            [&](const SqlRow& row) {
                              out.application = row.Int(0);
                              out.version = row.Int(1);
                            })
                      .status());
  return out;
}

absl::Status PostgresDb::ApplySchemaStep(const std::string& ddl, int64_t version) {
  if (!open_) return absl::FailedPreconditionError("no transaction is open");
  RETURN_IF_ERROR(connection_->Execute(PostgresDdl(ddl)));
  RETURN_IF_ERROR(connection_->Execute(
      "CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY, application BIGINT NOT "
      "NULL, version BIGINT NOT NULL)"));
  const SqlStatement mark = {
      "INSERT INTO schema_version (id, application, version) VALUES (1, $1, $2) ON CONFLICT (id) "
      "DO UPDATE SET application = excluded.application, version = excluded.version",
      {kStoreApplicationId, version}};
  return connection_->Run(absl::MakeConstSpan(&mark, 1));
}

}  // namespace tritter
