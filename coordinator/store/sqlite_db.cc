#include "coordinator/store/sqlite_db.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tritter {

absl::Status SqliteStatus(sqlite3* db, int code) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return absl::OkStatus();
  const char* path = db != nullptr ? sqlite3_db_filename(db, "main") : nullptr;
  const std::string message =
      absl::StrCat("store ", path != nullptr ? path : "", ": ",
                   db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(
          absl::StrCat(message, "; nothing was changed, free some space and retry"));
    case SQLITE_CORRUPT:
      return absl::DataLossError(absl::StrCat(message, "; restore the file from a backup"));
    case SQLITE_NOTADB:
      return absl::FailedPreconditionError(absl::StrCat(message, "; give another --data-dir"));
    case SQLITE_CONSTRAINT:
      return absl::AlreadyExistsError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::PermissionDeniedError(message);
    default:
      return absl::InternalError(absl::StrCat(message, " (code ", code, ")"));
  }
}

SqliteQuery::SqliteQuery(sqlite3* db, sqlite3_stmt* statement, absl::Status prepared)
    : db_(db), statement_(statement), status_(std::move(prepared)) {}

SqliteQuery::~SqliteQuery() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteQuery& SqliteQuery::Bind(int64_t value) {
  if (status_.ok())
    status_ = SqliteStatus(db_, sqlite3_bind_int64(statement_, next_parameter_++, value));
  return *this;
}

SqliteQuery& SqliteQuery::Bind(const std::string& value) {
  if (status_.ok()) {
    status_ = SqliteStatus(db_, sqlite3_bind_text64(statement_, next_parameter_++, value.data(),
                                                    value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  }
  return *this;
}

SqliteQuery& SqliteQuery::BindBlob(const std::string& value) {
  if (status_.ok()) {
    status_ = SqliteStatus(db_, sqlite3_bind_blob64(statement_, next_parameter_++, value.data(),
                                                    value.size(), SQLITE_TRANSIENT));
  }
  return *this;
}

absl::StatusOr<bool> SqliteQuery::Step() {
  if (!status_.ok()) return status_;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  status_ = SqliteStatus(db_, code);
  return status_;
}

absl::Status SqliteQuery::Run() { return Step().status(); }

std::string SqliteQuery::Text(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  if (data == nullptr) return "";
  return std::string(static_cast<const char*>(data), sqlite3_column_bytes(statement_, column));
}

absl::StatusOr<std::unique_ptr<SqliteDb>> SqliteDb::Open(const std::string& path) {
  sqlite3* db = nullptr;
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  if (code != SQLITE_OK) {
    const std::string why = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    sqlite3_close(db);
    return absl::PermissionDeniedError(absl::StrCat("store ", path, ": ", why));
  }
  return std::unique_ptr<SqliteDb>(new SqliteDb(db, path));
}

SqliteDb::~SqliteDb() {
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(db_);
}

absl::Status SqliteDb::Execute(const std::string& sql) {
  return SqliteStatus(db_, sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr));
}

absl::Status SqliteDb::UseWal() {
  SqliteQuery query = Query("PRAGMA journal_mode = WAL");
  absl::StatusOr<bool> row = query.Step();
  if (!row.ok()) return row.status();
  const std::string mode = *row ? query.Text(0) : "unknown";
  if (mode == "wal") return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("store ", path_, ": the journal mode is ", mode,
                   ", expected wal; give a --data-dir on a local disk (no network file system)"));
}

absl::StatusOr<int64_t> SqliteDb::Pragma(const std::string& name) {
  SqliteQuery query = Query(absl::StrCat("PRAGMA ", name));
  absl::StatusOr<bool> row = query.Step();
  if (!row.ok()) return row.status();
  return *row ? query.Int(0) : 0;
}

SqliteQuery SqliteDb::Query(const std::string& sql) {
  sqlite3_stmt*& statement = statements_[sql];
  absl::Status status;
  if (statement == nullptr) {
    status = SqliteStatus(db_, sqlite3_prepare_v2(db_, sql.c_str(), static_cast<int>(sql.size()),
                                                  &statement, nullptr));
  }
  return SqliteQuery(db_, statement, status);
}

}  // namespace tritter
