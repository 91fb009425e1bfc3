// A thin layer over SQLite: a connection, prepared statements and status codes. No knowledge of
// what is stored.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tritter {

// One execution of a prepared statement: bind the parameters in order, then Step until it says
// false. Resets the statement when it goes. Errors are kept and come out of Step, so that binding
// needs no checks.
class SqliteQuery {
 public:
  SqliteQuery(sqlite3* db, sqlite3_stmt* statement, absl::Status prepared);
  ~SqliteQuery();
  SqliteQuery(const SqliteQuery&) = delete;
  SqliteQuery& operator=(const SqliteQuery&) = delete;

  SqliteQuery& Bind(int64_t value);
  SqliteQuery& Bind(uint64_t value) { return Bind(static_cast<int64_t>(value)); }  // same 64 bits
  SqliteQuery& Bind(int32_t value) { return Bind(static_cast<int64_t>(value)); }
  SqliteQuery& Bind(const std::string& value);      // text; copied
  SqliteQuery& BindBlob(const std::string& value);  // copied

  absl::StatusOr<bool> Step();  // true: there is a row
  absl::Status Run();           // a statement without rows

  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string Text(int column) const;  // text or blob

 private:
  sqlite3* const db_;
  sqlite3_stmt* const statement_;
  absl::Status status_;
  int next_parameter_ = 1;
};

// Not thread-safe. Owned by the store; closes the connection when it goes.
class SqliteDb {
 public:
  // Creates the file when it is missing. Errors: see SqliteStatus.
  static absl::StatusOr<std::unique_ptr<SqliteDb>> Open(const std::string& path);
  ~SqliteDb();

  absl::Status Execute(const std::string& sql);  // one or more statements without parameters
  // SQLite may keep another journal mode without calling it an error: FailedPrecondition then.
  absl::Status UseWal();
  absl::StatusOr<int64_t> Pragma(const std::string& name);
  SqliteQuery Query(const std::string& sql);  // prepared once and kept
  const std::string& path() const { return path_; }
  sqlite3* handle() { return db_; }

 private:
  SqliteDb(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}

  sqlite3* const db_;
  const std::string path_;
  std::map<std::string, sqlite3_stmt*> statements_;
};

// ResourceExhausted for SQLITE_FULL, DataLoss for a damaged file, FailedPrecondition for a file
// that is no database, AlreadyExists for a broken uniqueness rule, Unavailable when it is busy,
// Internal for the rest.
absl::Status SqliteStatus(sqlite3* db, int code);

}  // namespace tritter
