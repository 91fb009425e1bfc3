#include "coordinator/store/sqlite_db.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

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

namespace {

// Resets the statement when it goes, so that it holds no lock and no copy of its values.
class Execution {
 public:
  explicit Execution(sqlite3_stmt* statement) : statement_(statement) {}
  ~Execution() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

 private:
  sqlite3_stmt* const statement_;
};

class SqliteRow : public SqlRow {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}
  int64_t Int(int column) const override { return sqlite3_column_int64(statement_, column); }
  std::string Bytes(int column) const override {
    const void* data = sqlite3_column_blob(statement_, column);
    if (data == nullptr) return "";
    return std::string(static_cast<const char*>(data), sqlite3_column_bytes(statement_, column));
  }

 private:
  sqlite3_stmt* const statement_;
};

int BindValue(sqlite3_stmt* statement, int number, const SqlValue& value) {
  switch (value.kind) {
    case SqlValue::Kind::kInt:
      return sqlite3_bind_int64(statement, number, value.number);
    case SqlValue::Kind::kText:
      return sqlite3_bind_text64(statement, number, value.bytes.data(), value.bytes.size(),
                                 SQLITE_TRANSIENT, SQLITE_UTF8);
    case SqlValue::Kind::kBlob:
      return sqlite3_bind_blob64(statement, number, value.bytes.data(), value.bytes.size(),
                                 SQLITE_TRANSIENT);
  }
  return SQLITE_MISUSE;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteDb>> SqliteDb::Open(const std::string& path, bool read_only) {
  sqlite3* db = nullptr;
  const int flags =
      (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
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

void SqliteDb::Rollback() {
  // SQLite has rolled back by itself when the disk was full.
  if (sqlite3_get_autocommit(db_) == 0) Execute("ROLLBACK").IgnoreError();
}

absl::StatusOr<sqlite3_stmt*> SqliteDb::Prepare(const SqlStatement& s) {
  sqlite3_stmt*& statement = statements_[s.sql];
  if (statement == nullptr) {
    RETURN_IF_ERROR(
        SqliteStatus(db_, sqlite3_prepare_v2(db_, s.sql.c_str(), static_cast<int>(s.sql.size()),
                                             &statement, nullptr)));
  }
  int number = 0;
  for (const SqlValue& value : s.values)
    RETURN_IF_ERROR(SqliteStatus(db_, BindValue(statement, ++number, value)));
  return statement;
}

absl::Status SqliteDb::Run(absl::Span<const SqlStatement> statements) {
  for (const SqlStatement& s : statements) {
    ASSIGN_OR_RETURN(sqlite3_stmt* const statement, Prepare(s));
    const Execution execution(statement);
    RETURN_IF_ERROR(SqliteStatus(db_, sqlite3_step(statement)));
  }
  return absl::OkStatus();
}

absl::Status SqliteDb::Select(const SqlStatement& query,
                              const std::function<absl::Status(const SqlRow&)>& each) {
  ASSIGN_OR_RETURN(sqlite3_stmt* const statement, Prepare(query));
  const Execution execution(statement);
  const SqliteRow row(statement);
  while (true) {
    const int code = sqlite3_step(statement);
    if (code == SQLITE_DONE) return absl::OkStatus();
    if (code != SQLITE_ROW) return SqliteStatus(db_, code);
    RETURN_IF_ERROR(each(row));
  }
}

absl::Status SqliteDb::UseWal() {
  std::string mode = "unknown";
  RETURN_IF_ERROR(SelectOne(this, {"PRAGMA journal_mode = WAL", {}}, [&](const SqlRow& row) {
                    mode = row.Bytes(0);
                  }).status());
  if (mode == "wal") return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("store ", path_, ": the journal mode is ", mode,
                   ", expected wal; give a --data-dir on a local disk (no network file system)"));
}

absl::StatusOr<int64_t> SqliteDb::Pragma(const std::string& name) {
  int64_t value = 0;
  RETURN_IF_ERROR(SelectOne(this, {absl::StrCat("PRAGMA ", name), {}}, [&](const SqlRow& row) {
                    value = row.Int(0);
                  }).status());
  return value;
}

absl::StatusOr<SqlMarker> SqliteDb::Marker() {
  SqlMarker out;
  ASSIGN_OR_RETURN(out.application, Pragma("application_id"));
  ASSIGN_OR_RETURN(out.version, Pragma("user_version"));
  ASSIGN_OR_RETURN(const int64_t objects, Pragma("schema_version"));
  out.empty = out.application == 0 && out.version == 0 && objects == 0;
  return out;
}

absl::StatusOr<int64_t> SqliteDb::Bytes() {
  ASSIGN_OR_RETURN(const int64_t pages, Pragma("page_count"));
  ASSIGN_OR_RETURN(const int64_t bytes, Pragma("page_size"));
  return pages * bytes;
}

absl::Status SqliteDb::ApplySchemaStep(const std::string& ddl, int64_t version) {
  RETURN_IF_ERROR(Execute(ddl));
  return Execute(absl::StrCat("PRAGMA application_id = ", kStoreApplicationId,
                              "; PRAGMA user_version = ", version));
}

}  // namespace tritter
