#include "coordinator/store/sql_schema.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace tritter {
namespace {

// In SQLite's words, which a database of another kind translates (SqlDatabase::ApplySchemaStep).
// Bodies are serialised messages of tritter.v1, whose fields are never renumbered.
constexpr const char* kSteps[] = {
    // 1: runs and their life
    R"sql(
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
  run_id TEXT PRIMARY KEY, name TEXT NOT NULL, state INTEGER NOT NULL, reason TEXT NOT NULL, intent INTEGER NOT NULL,
  spec_yaml TEXT NOT NULL, spec_hash TEXT NOT NULL, run_dir TEXT NOT NULL, total_steps INTEGER NOT NULL,
  priority INTEGER NOT NULL, step INTEGER NOT NULL, best_step INTEGER NOT NULL, epoch INTEGER NOT NULL,
  epochs_lost INTEGER NOT NULL, failures INTEGER NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL,
  finished_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE idempotency_keys (key TEXT PRIMARY KEY, request_hash TEXT NOT NULL, run_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, live INTEGER NOT NULL, start_step INTEGER NOT NULL,
  manifest_sha256 TEXT NOT NULL, rendezvous TEXT NOT NULL, end_reason TEXT NOT NULL, started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL, PRIMARY KEY (run_id, epoch)) WITHOUT ROWID;
CREATE TABLE members (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, rank INTEGER NOT NULL, worker TEXT NOT NULL, incarnation INTEGER NOT NULL,
  device TEXT NOT NULL, memory_bytes INTEGER NOT NULL, PRIMARY KEY (run_id, epoch, rank)) WITHOUT ROWID;
CREATE TABLE plans (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, first_step INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (run_id, epoch, first_step)) WITHOUT ROWID;
CREATE TABLE shares (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, step INTEGER NOT NULL, rank INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (run_id, epoch, step, rank)) WITHOUT ROWID;
CREATE TABLE checkpoints (
  run_id TEXT NOT NULL, step INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run_id, step)) WITHOUT ROWID;
CREATE TABLE metrics (
  run_id TEXT NOT NULL, step INTEGER NOT NULL, epoch INTEGER NOT NULL, superseded INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (run_id, step, epoch)) WITHOUT ROWID;
CREATE TABLE evaluations (
  run_id TEXT NOT NULL, step INTEGER NOT NULL, epoch INTEGER NOT NULL, source TEXT NOT NULL, weights TEXT NOT NULL,
  superseded INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run_id, step, epoch, source, weights)) WITHOUT ROWID;
CREATE TABLE artifacts (
  run_id TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run_id, kind)) WITHOUT ROWID;
CREATE TABLE events (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX events_by_run ON events (run_id, id);
)sql",
    // 2: reports counted once, log lines of workers
    R"sql(
CREATE TABLE requests (
  run_id TEXT NOT NULL, epoch INTEGER NOT NULL, request_id TEXT NOT NULL,
  PRIMARY KEY (run_id, epoch, request_id)) WITHOUT ROWID;
CREATE TABLE log_lines (sequence INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX log_lines_by_run ON log_lines (run_id, sequence);
)sql",
    // 3: what the mean speed of a run is made of
    R"sql(
ALTER TABLE runs ADD COLUMN reported_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN reported_us INTEGER NOT NULL DEFAULT 0;
)sql",
    // 4: how far an epoch came, and who failed first in it
    R"sql(
ALTER TABLE epochs ADD COLUMN end_step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE epochs ADD COLUMN failure BLOB;
)sql",
    // 5: how old a key is; of those that are there, as old as their run
    R"sql(
ALTER TABLE idempotency_keys ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
UPDATE idempotency_keys SET created_ms = coalesce(
  (SELECT created_ms FROM runs WHERE runs.run_id = idempotency_keys.run_id), 0);
)sql",
};

absl::Status ApplyStep(SqlDatabase* db, int64_t version, const std::string& new_store_id) {
  RETURN_IF_ERROR(db->ApplySchemaStep(kSteps[version - 1], version));
  if (version > 1) return absl::OkStatus();
  return db->Run({{{"INSERT INTO meta (key, value) VALUES ('store_id', $1)", {new_store_id}}}});
}

}  // namespace

int64_t LatestSchemaVersion() { return std::size(kSteps); }

absl::Status CheckMarker(const SqlDatabase& db, const SqlMarker& marker) {
  if (!marker.empty && marker.application != kStoreApplicationId) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s is a database of another program (application id 0x%08x, expected "
                        "0x%08x); give another --data-dir or --store",
                        db.name(), marker.application, kStoreApplicationId));
  }
  if (marker.version > LatestSchemaVersion()) {
    return absl::FailedPreconditionError(absl::StrCat(
        db.name(), " has schema version ", marker.version, ", this program knows versions up to ",
        LatestSchemaVersion(), "; use the newer program or restore a backup"));
  }
  return absl::OkStatus();
}

absl::Status MigrateStore(SqlDatabase* db, const std::string& new_store_id, int64_t target) {
  ASSIGN_OR_RETURN(const SqlMarker marker, db->Marker());
  RETURN_IF_ERROR(CheckMarker(*db, marker));
  for (int64_t next = marker.version + 1; next <= target; ++next) {
    RETURN_IF_ERROR(db->Begin());
    absl::Status status = ApplyStep(db, next, new_store_id);
    if (status.ok()) status = db->Commit();
    if (!status.ok()) {
      db->Rollback();
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace tritter
