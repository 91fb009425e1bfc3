#include "coordinator/store/copy_store.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/file_lock.h"
#include "common/status_macros.h"
#include "coordinator/store/postgres/postgres_db.h"
#include "coordinator/store/sql_schema.h"
#include "coordinator/store/sql_store.h"
#include "coordinator/store/sqlite_db.h"
#include "coordinator/store/sqlite_store.h"

namespace tritter {
namespace {

constexpr size_t kRowsAtOnce = 256;
constexpr absl::Duration kTryAgain = absl::Milliseconds(500);
constexpr int kTries = 20;  // longer than the lease of a leader that is gone

struct Column {
  std::string name;
  SqlValue::Kind kind = SqlValue::Kind::kInt;
};
struct Table {
  std::string name;
  std::vector<Column> columns;
};

// The tables of the schema, as SQLite knows them.
absl::StatusOr<std::vector<Table>> TablesOf(SqliteDb* db) {
  std::vector<Table> out;
  RETURN_IF_ERROR(db->Select({"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT "
                              "LIKE 'sqlite_%' ORDER BY name",
                              {}},
                             [&](const SqlRow& row) {
                               out.push_back({row.Bytes(0), {}});
                               return absl::OkStatus();
                             }));
  for (Table& table : out) {
    RETURN_IF_ERROR(db->Select(
        {"SELECT name, type FROM pragma_table_info($1)", {table.name}}, [&](const SqlRow& row) {
          const std::string type = row.Bytes(1);
          table.columns.push_back({row.Bytes(0), type == "INTEGER" ? SqlValue::Kind::kInt
                                                 : type == "TEXT"  ? SqlValue::Kind::kText
                                                                   : SqlValue::Kind::kBlob});
          return absl::OkStatus();
        }));
  }
  return out;
}

SqlValue ValueOf(const SqlRow& row, int column, SqlValue::Kind kind) {
  if (kind == SqlValue::Kind::kInt) return row.Int(column);
  if (kind == SqlValue::Kind::kText) return row.Bytes(column);
  return SqlValue::Blob(row.Bytes(column));
}

absl::StatusOr<int64_t> CopyTable(const Table& table, SqlDatabase* from, SqlDatabase* to) {
  std::vector<std::string> names, numbers;
  for (const Column& c : table.columns) {
    names.push_back(c.name);
    numbers.push_back(absl::StrCat("$", names.size()));
  }
  const std::string columns = absl::StrJoin(names, ", ");
  const std::string insert = absl::StrCat("INSERT INTO ", table.name, " (", columns, ") VALUES (",
                                          absl::StrJoin(numbers, ", "), ")");
  int64_t rows = 0;
  std::vector<SqlStatement> waiting;
  RETURN_IF_ERROR(from->Select(
      {absl::StrCat("SELECT ", columns, " FROM ", table.name), {}}, [&](const SqlRow& row) {
        SqlStatement& statement = waiting.emplace_back(SqlStatement{insert, {}});
        for (size_t i = 0; i < table.columns.size(); ++i)
          statement.values.push_back(ValueOf(row, static_cast<int>(i), table.columns[i].kind));
        ++rows;
        if (waiting.size() < kRowsAtOnce) return absl::OkStatus();
        return to->Run(std::exchange(waiting, {}));
      }));
  RETURN_IF_ERROR(to->Run(waiting));
  return rows;
}

// Into a transaction of its own; `to` holds nothing but its identity, which goes.
absl::StatusOr<CopiedStore> CopyRows(const std::vector<Table>& tables, SqlDatabase* from,
                                     SqlDatabase* to) {
  CopiedStore out;
  RETURN_IF_ERROR(to->Begin());
  const absl::Cleanup rollback = [to] { to->Rollback(); };
  const SqlStatement nameless = {"DELETE FROM meta", {}};
  RETURN_IF_ERROR(to->Run(absl::MakeConstSpan(&nameless, 1)));
  for (const Table& table : tables) {
    ASSIGN_OR_RETURN(const int64_t rows, CopyTable(table, from, to));
    out.rows += rows;
    if (table.name == "runs") out.runs = rows;
  }
  RETURN_IF_ERROR(to->Commit());
  ASSIGN_OR_RETURN(out.store_id, StoreIdOf(from));
  return out;
}

absl::Status CheckWhole(SqliteDb* db) {
  std::string answer;
  RETURN_IF_ERROR(SelectOne(db, {"PRAGMA integrity_check(1)", {}}, [&](const SqlRow& row) {
                    answer = row.Bytes(0);
                  }).status());
  if (answer == "ok") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(db->name(), " is damaged: ", answer));
}

absl::StatusOr<SqlMarker> CheckedMarker(SqlDatabase* db) {
  ASSIGN_OR_RETURN(const SqlMarker marker, db->Marker());
  RETURN_IF_ERROR(CheckMarker(*db, marker));
  if (!marker.empty) return marker;
  return absl::NotFoundError(absl::StrCat("there is no store in ", db->name()));
}

absl::StatusOr<std::unique_ptr<SqlDatabase>> OpenSource(Env* env, const StoreChoice& from) {
  if (from.shared()) {
    PostgresDbOptions options;
    options.connection = {from.store, from.password_file, "tritter backup"};
    return PostgresDb::Open(std::move(options));
  }
  const std::string path = JoinPath(from.data_dir, kSqliteStoreFile);
  if (!env->Exists(path)) {
    return absl::NotFoundError(
        absl::StrCat("there is no store at ", path, "; give the coordinator's --data-dir"));
  }
  return SqliteDb::Open(path, /*read_only=*/true);
}

absl::Status CheckEmpty(const std::vector<Table>& tables, SqlDatabase* db) {
  for (const Table& table : tables) {
    if (table.name == "meta") continue;
    ASSIGN_OR_RETURN(const bool any,
                     SelectOne(db, {absl::StrCat("SELECT 1 FROM ", table.name, " LIMIT 1"), {}},
                               [](const SqlRow&) {}));
    if (any) {
      return absl::FailedPreconditionError(
          absl::StrCat("store ", db->name(), " is not empty: it has rows in ", table.name,
                       "; restore into another one, or remove what is there"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CopiedStore> RestoreToFolder(Env* env, SqliteDb* from,
                                            const std::vector<Table>& tables, int64_t version,
                                            const std::string& data_dir) {
  RETURN_IF_ERROR(env->CreateDirs(data_dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<FileLock> lock,
                   FileLock::Acquire(JoinPath(data_dir, "coordinator.lock")));
  const std::string path = JoinPath(data_dir, kSqliteStoreFile), part = path + ".restoring";
  for (const std::string& there : {path, path + "-wal"}) {
    if (env->Exists(there)) {
      return absl::FailedPreconditionError(absl::StrCat(
          there, " is there already; restore into another --data-dir, or move that file away"));
    }
  }
  if (env->Exists(part)) RETURN_IF_ERROR(env->RemoveFile(part));  // of an attempt that was cut
  CopiedStore out;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> to, SqliteDb::Open(part));
    RETURN_IF_ERROR(MigrateStore(to.get(), "restoring", version));
    ASSIGN_OR_RETURN(out, CopyRows(tables, from, to.get()));
    RETURN_IF_ERROR(MigrateStore(to.get(), "restoring"));
  }
  RETURN_IF_ERROR(env->Rename(part, path));
  RETURN_IF_ERROR(env->SyncDir(data_dir));
  return out;
}

absl::StatusOr<CopiedStore> RestoreToServer(Env* env, SqliteDb* from,
                                            const std::vector<Table>& tables, int64_t version,
                                            const StoreChoice& choice,
                                            const std::function<bool(absl::Duration)>& wait) {
  LeaderOptions options;
  options.connection = {choice.store, choice.password_file, ""};
  options.holder = choice.holder;
  PostgresLeader leader(options);
  for (int tries = 0;; ++tries) {
    ASSIGN_OR_RETURN(const bool leads, leader.TryLead());
    if (leads) break;
    if (tries == kTries || wait(kTryAgain)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "a coordinator is at work on the store: ", leader.Leader(), "; stop all of them first"));
    }
  }
  PostgresDbOptions db_options;
  db_options.connection = leader.WriterConnection();
  db_options.term = leader.term();
  ASSIGN_OR_RETURN(const std::unique_ptr<PostgresDb> to, PostgresDb::Open(std::move(db_options)));
  ASSIGN_OR_RETURN(const SqlMarker marker, to->Marker());
  RETURN_IF_ERROR(CheckMarker(*to, marker));
  if (marker.version > version) {
    return absl::FailedPreconditionError(absl::StrCat(
        "store ", to->name(), " has schema version ", marker.version, ", the backup has ", version,
        "; DROP SCHEMA tritter CASCADE if the database holds nothing that is needed, then again"));
  }
  RETURN_IF_ERROR(MigrateStore(to.get(), "restoring", version));
  RETURN_IF_ERROR(CheckEmpty(tables, to.get()));
  ASSIGN_OR_RETURN(const std::string id, StoreIdOf(from));
  RETURN_IF_ERROR(MarkDataDir(env, choice.data_dir, id));
  ASSIGN_OR_RETURN(const CopiedStore out, CopyRows(tables, from, to.get()));
  RETURN_IF_ERROR(MigrateStore(to.get(), "restoring"));
  return out;
}

}  // namespace

absl::StatusOr<CopiedStore> BackUpStore(Env* env, const StoreChoice& from,
                                        const std::string& path) {
  if (env->Exists(path)) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, " is there already; a backup replaces nothing: give another name"));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<SqlDatabase> source, OpenSource(env, from));
  RETURN_IF_ERROR(source->BeginSnapshot());
  const absl::Cleanup end = [&source] { source->Rollback(); };
  ASSIGN_OR_RETURN(const SqlMarker marker, CheckedMarker(source.get()));
  if (marker.version != LatestSchemaVersion()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "store ", source->name(), " has schema version ", marker.version, ", this program writes ",
        LatestSchemaVersion(),
        "; back it up with the program that wrote it, or start this version's coordinator on it "
        "once"));
  }
  const std::string part = path + ".part";
  if (env->Exists(part)) RETURN_IF_ERROR(env->RemoveFile(part));
  absl::Cleanup remove = [env, &part] { env->RemoveFile(part).IgnoreError(); };
  CopiedStore out;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> to, SqliteDb::Open(part));
    RETURN_IF_ERROR(MigrateStore(to.get(), "copying"));
    ASSIGN_OR_RETURN(const std::vector<Table> tables, TablesOf(to.get()));
    ASSIGN_OR_RETURN(out, CopyRows(tables, source.get(), to.get()));
    RETURN_IF_ERROR(CheckWhole(to.get()));
  }
  out.schema_version = marker.version;
  RETURN_IF_ERROR(env->Rename(part, path));
  std::move(remove).Cancel();
  const std::string folder = Dirname(path);
  RETURN_IF_ERROR(env->SyncDir(folder.empty() ? "." : folder));
  return out;
}

absl::StatusOr<CopiedStore> RestoreStore(Env* env, const std::string& path, const StoreChoice& to,
                                         const std::function<bool(absl::Duration)>& wait) {
  if (!env->Exists(path)) return absl::NotFoundError(absl::StrCat("there is no file ", path));
  ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> from, SqliteDb::Open(path, /*read_only=*/true));
  ASSIGN_OR_RETURN(const SqlMarker marker, CheckedMarker(from.get()));
  RETURN_IF_ERROR(CheckWhole(from.get()));
  ASSIGN_OR_RETURN(const std::vector<Table> tables, TablesOf(from.get()));
  absl::StatusOr<CopiedStore> out =
      to.shared() ? RestoreToServer(env, from.get(), tables, marker.version, to, wait)
                  : RestoreToFolder(env, from.get(), tables, marker.version, to.data_dir);
  if (out.ok()) out->schema_version = marker.version;
  return out;
}

}  // namespace tritter
