// One database under SqlStore: SQLite (sqlite_db.h) or PostgreSQL (postgres/postgres_db.h). No
// knowledge of what is stored. Statements are written once, in what both understand: parameters
// are $1, $2, … in the order of their first appearance (to SQLite those are names, which get their
// numbers in that order), changes of a row are INSERT … ON CONFLICT … DO UPDATE.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tritter {

// The value of a parameter, or of a column that is copied.
struct SqlValue {
  enum class Kind { kInt, kText, kBlob };
  Kind kind = Kind::kInt;
  int64_t number = 0;
  std::string bytes;  // of text too: any bytes, NUL included

  SqlValue(int64_t v) : number(v) {}                                   // NOLINT: a parameter
  SqlValue(uint64_t v) : number(static_cast<int64_t>(v)) {}            // NOLINT: the same 64 bits
  SqlValue(int32_t v) : number(v) {}                                   // NOLINT
  SqlValue(std::string v) : kind(Kind::kText), bytes(std::move(v)) {}  // NOLINT
  SqlValue(const char* v) : kind(Kind::kText), bytes(v) {}             // NOLINT
  static SqlValue Blob(std::string v) {
    SqlValue out(std::move(v));
    out.kind = Kind::kBlob;
    return out;
  }
};

struct SqlStatement {
  std::string sql;
  std::vector<SqlValue> values;
};

// The row a query stands on; valid during the call it is handed to. Columns from 0.
class SqlRow {
 public:
  virtual ~SqlRow() = default;
  virtual int64_t Int(int column) const = 0;
  virtual std::string Bytes(int column) const = 0;  // text or blob
};

inline constexpr int64_t kStoreApplicationId = 0x54524954;  // "TRIT"

// What the database says of itself before any of our tables is looked at.
struct SqlMarker {
  bool empty = true;        // nothing of anybody is in it
  int64_t application = 0;  // kStoreApplicationId when it is ours
  int64_t version = 0;      // of the schema
};

// Not thread-safe. Errors of all methods: ResourceExhausted (disk full), DataLoss (damaged),
// AlreadyExists (a broken uniqueness rule), Unavailable (busy, or the server is away),
// PermissionDenied, Internal; messages name the database.
class SqlDatabase {
 public:
  virtual ~SqlDatabase() = default;

  // Where it is, for messages; never with a password.
  virtual const std::string& name() const = 0;

  // A transaction. Begin fails when one is open. What Run did is there after Commit said OK, and
  // not at all after any error or after Rollback. Commit's error leaves no doubt either, but for
  // databases behind a network: see PostgresDb.
  virtual absl::Status Begin() = 0;
  virtual absl::Status Run(absl::Span<const SqlStatement> statements) = 0;
  virtual absl::Status Commit() = 0;
  virtual void Rollback() = 0;  // nothing when none is open
  // A transaction that only reads: every Select until Rollback sees one moment.
  virtual absl::Status BeginSnapshot() = 0;

  // Calls `each` for every row, in order; its error ends the query.
  virtual absl::Status Select(const SqlStatement& query,
                              const std::function<absl::Status(const SqlRow&)>& each) = 0;

  virtual absl::StatusOr<SqlMarker> Marker() = 0;
  // What our tables and their indexes take on disk; of SQLite the file, with what is free in it.
  virtual absl::StatusOr<int64_t> Bytes() = 0;
  // Inside a transaction: one step of the schema (statements in SQLite's words, several in one
  // text), which makes this the database of our application with that version.
  virtual absl::Status ApplySchemaStep(const std::string& ddl, int64_t version) = 0;
};

// The one row of a query, or nothing: `first` is called for it.
absl::StatusOr<bool> SelectOne(SqlDatabase* db, const SqlStatement& query,
                               const std::function<void(const SqlRow&)>& first);

}  // namespace tritter
