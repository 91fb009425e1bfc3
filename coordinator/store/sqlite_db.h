// A thin layer over SQLite: a connection, prepared statements and status codes.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/sql_database.h"

namespace tritter {

// Not thread-safe. Closes the connection when it goes.
class SqliteDb : public SqlDatabase {
 public:
  // Creates the file when it is missing, unless `read_only`. Errors: see SqliteStatus.
  static absl::StatusOr<std::unique_ptr<SqliteDb>> Open(const std::string& path,
                                                        bool read_only = false);
  ~SqliteDb() override;

  const std::string& name() const override { return path_; }
  absl::Status Begin() override { return Execute("BEGIN IMMEDIATE"); }
  absl::Status Run(absl::Span<const SqlStatement> statements) override;
  absl::Status Commit() override { return Execute("COMMIT"); }
  void Rollback() override;
  absl::Status BeginSnapshot() override { return Execute("BEGIN"); }
  absl::Status Select(const SqlStatement& query,
                      const std::function<absl::Status(const SqlRow&)>& each) override;
  absl::StatusOr<SqlMarker> Marker() override;
  absl::StatusOr<int64_t> Bytes() override;
  absl::Status ApplySchemaStep(const std::string& ddl, int64_t version) override;

  absl::Status Execute(const std::string& sql);  // one or more statements without parameters
  // SQLite may keep another journal mode without calling it an error: FailedPrecondition then.
  absl::Status UseWal();

 private:
  SqliteDb(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}

  absl::StatusOr<int64_t> Pragma(const std::string& name);
  // Prepared once and kept; bound.
  absl::StatusOr<sqlite3_stmt*> Prepare(const SqlStatement& statement);

  sqlite3* const db_;
  const std::string path_;
  std::map<std::string, sqlite3_stmt*> statements_;
};

// ResourceExhausted for SQLITE_FULL, DataLoss for a damaged file, FailedPrecondition for a file
// that is no database, AlreadyExists for a broken uniqueness rule, Unavailable when it is busy,
// Internal for the rest.
absl::Status SqliteStatus(sqlite3* db, int code);

}  // namespace tritter
