// The reading half of SqliteStore.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/store/sqlite_store.h"

namespace tritter {
namespace {

// Every row of `query` as one message, from column 0.
template <typename T>
absl::StatusOr<std::vector<T>> Bodies(SqliteQuery& query, const std::string& path) {
  std::vector<T> out;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return out;
    if (!out.emplace_back().ParseFromString(query.Text(0))) {
      return absl::DataLossError(
          absl::StrCat("store ", path, ": a row cannot be read as a message; restore a backup"));
    }
  }
}

RunRecord RunOf(const SqliteQuery& q) {
  RunRecord r;
  r.run_id = q.Text(0);
  r.name = q.Text(1);
  r.state = static_cast<v1::RunState>(q.Int(2));
  r.reason = q.Text(3);
  r.intent = static_cast<Intent>(q.Int(4));
  r.spec_yaml = q.Text(5);
  r.spec_hash = q.Text(6);
  r.run_dir = q.Text(7);
  r.total_steps = q.Int(8);
  r.priority = q.Int(9);
  r.step = q.Int(10);
  r.best_step = q.Int(11);
  r.epoch = static_cast<uint64_t>(q.Int(12));
  r.epochs_lost = q.Int(13);
  r.failures = q.Int(14);
  r.created_ms = q.Int(15);
  r.started_ms = q.Int(16);
  r.finished_ms = q.Int(17);
  r.reported_tokens = q.Int(18);
  r.reported_us = q.Int(19);
  return r;
}

EpochRecord EpochOf(const SqliteQuery& q) {
  EpochRecord e;
  e.run_id = q.Text(0);
  e.epoch = static_cast<uint64_t>(q.Int(1));
  e.live = q.Int(2) != 0;
  e.start_step = q.Int(3);
  e.manifest_sha256 = q.Text(4);
  e.rendezvous = q.Text(5);
  e.end_reason = q.Text(6);
  e.started_ms = q.Int(7);
  e.ended_ms = q.Int(8);
  return e;
}

int64_t LastOrMax(int64_t last) { return last == 0 ? std::numeric_limits<int64_t>::max() : last; }

}  // namespace

absl::StatusOr<std::string> SqliteStore::StoreId() {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query("SELECT value FROM meta WHERE key = 'store_id'");
  ASSIGN_OR_RETURN(const bool row, query.Step());
  if (!row)
    return absl::DataLossError(
        absl::StrCat("store ", db_->path(), " has no identity; restore a backup"));
  return query.Text(0);
}

absl::StatusOr<std::vector<RunRecord>> SqliteStore::Runs() {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query(
      "SELECT run_id, name, state, reason, intent, spec_yaml, spec_hash, run_dir, total_steps, "
      "priority, step, best_step, "
      "epoch, epochs_lost, failures, created_ms, started_ms, finished_ms, "
      "reported_tokens, reported_us FROM runs ORDER BY "
      "created_ms, run_id");
  std::vector<RunRecord> out;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return out;
    out.push_back(RunOf(query));
  }
}

absl::StatusOr<std::vector<EpochRecord>> SqliteStore::LiveEpochs() {
  MutexLock lock(&mu_);
  std::vector<EpochRecord> out;
  {
    SqliteQuery query = db_->Query(
        "SELECT run_id, epoch, live, start_step, manifest_sha256, rendezvous, end_reason, "
        "started_ms, ended_ms FROM epochs "
        "WHERE live = 1 ORDER BY run_id, epoch");
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) break;
      out.push_back(EpochOf(query));
    }
  }
  for (EpochRecord& e : out) {
    SqliteQuery query = db_->Query(
        "SELECT worker, incarnation, device, memory_bytes FROM members WHERE run_id = ? AND epoch "
        "= ? ORDER BY rank");
    query.Bind(e.run_id).Bind(e.epoch);
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) break;
      e.members.push_back(
          {query.Text(0), static_cast<uint64_t>(query.Int(1)), query.Text(2), query.Int(3)});
    }
  }
  return out;
}

absl::StatusOr<std::vector<v1::Plan>> SqliteStore::Plans(const std::string& run_id,
                                                         uint64_t epoch) {
  MutexLock lock(&mu_);
  SqliteQuery query =
      db_->Query("SELECT body FROM plans WHERE run_id = ? AND epoch = ? ORDER BY first_step");
  query.Bind(run_id).Bind(epoch);
  return Bodies<v1::Plan>(query, db_->path());
}

absl::StatusOr<std::vector<ShareRecord>> SqliteStore::Shares(const std::string& run_id,
                                                             uint64_t epoch) {
  MutexLock lock(&mu_);
  SqliteQuery query =
      db_->Query("SELECT body FROM shares WHERE run_id = ? AND epoch = ? ORDER BY step, rank");
  query.Bind(run_id).Bind(epoch);
  ASSIGN_OR_RETURN(std::vector<v1::CommitShareRequest> shares,
                   Bodies<v1::CommitShareRequest>(query, db_->path()));
  std::vector<ShareRecord> out;
  for (v1::CommitShareRequest& share : shares) {
    const int64_t step = share.step();
    const int32_t rank = share.rank();
    out.push_back({run_id, epoch, step, rank, std::move(share)});
  }
  return out;
}

absl::StatusOr<std::vector<v1::Checkpoint>> SqliteStore::Checkpoints(const std::string& run_id) {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query("SELECT body FROM checkpoints WHERE run_id = ? ORDER BY step");
  query.Bind(run_id);
  return Bodies<v1::Checkpoint>(query, db_->path());
}

absl::StatusOr<std::vector<v1::Artifact>> SqliteStore::Artifacts(const std::string& run_id) {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query("SELECT body FROM artifacts WHERE run_id = ? ORDER BY kind");
  query.Bind(run_id);
  return Bodies<v1::Artifact>(query, db_->path());
}

absl::StatusOr<int64_t> SqliteStore::LastEventId() {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query("SELECT coalesce(max(id), 0) FROM events");
  RETURN_IF_ERROR(query.Step());
  return query.Int(0);
}

absl::StatusOr<std::vector<v1::Event>> SqliteStore::Events(const std::string& run_id,
                                                           int64_t after_id, int64_t limit) {
  MutexLock lock(&mu_);
  SqliteQuery query =
      run_id.empty()
          ? db_->Query("SELECT body FROM events WHERE id > ? ORDER BY id LIMIT ?")
          : db_->Query("SELECT body FROM events WHERE run_id = ? AND id > ? ORDER BY id LIMIT ?");
  if (!run_id.empty()) query.Bind(run_id);
  query.Bind(after_id).Bind(limit);
  return Bodies<v1::Event>(query, db_->path());
}

absl::StatusOr<std::vector<v1::StepMetrics>> SqliteStore::Metrics(const std::string& run_id,
                                                                  int64_t first, int64_t last,
                                                                  int64_t limit) {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query(
      "SELECT body FROM metrics WHERE run_id = ? AND step >= ? AND step <= ? AND superseded = 0 "
      "ORDER BY step, epoch LIMIT ?");
  query.Bind(run_id).Bind(first).Bind(LastOrMax(last)).Bind(limit);
  return Bodies<v1::StepMetrics>(query, db_->path());
}

absl::StatusOr<int64_t> SqliteStore::SupersededSteps(const std::string& run_id) {
  MutexLock lock(&mu_);
  SqliteQuery query =
      db_->Query("SELECT count(*) FROM metrics WHERE run_id = ? AND superseded = 1");
  query.Bind(run_id);
  RETURN_IF_ERROR(query.Step());
  return query.Int(0);
}

absl::StatusOr<std::vector<v1::EvaluationPoint>> SqliteStore::Evaluations(const std::string& run_id,
                                                                          int64_t first,
                                                                          int64_t last,
                                                                          int64_t limit) {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query(
      "SELECT body FROM evaluations WHERE run_id = ? AND step >= ? AND step <= ? AND superseded = "
      "0 "
      "ORDER BY step, epoch, source, weights LIMIT ?");
  query.Bind(run_id).Bind(first).Bind(LastOrMax(last)).Bind(limit);
  return Bodies<v1::EvaluationPoint>(query, db_->path());
}

absl::StatusOr<std::optional<IdempotencyRecord>> SqliteStore::FindKey(const std::string& key) {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query("SELECT request_hash, run_id FROM idempotency_keys WHERE key = ?");
  query.Bind(key);
  ASSIGN_OR_RETURN(const bool row, query.Step());
  if (!row) return std::optional<IdempotencyRecord>();
  return std::optional<IdempotencyRecord>({key, query.Text(0), query.Text(1)});
}

absl::StatusOr<bool> SqliteStore::RequestSeen(const RequestRecord& request) {
  MutexLock lock(&mu_);
  SqliteQuery query =
      db_->Query("SELECT 1 FROM requests WHERE run_id = ? AND epoch = ? AND request_id = ?");
  query.Bind(request.run_id).Bind(request.epoch).Bind(request.request_id);
  return query.Step();
}

absl::StatusOr<std::vector<LogRecord>> SqliteStore::LogLines(const std::string& run_id,
                                                             int64_t after, int64_t tail) {
  MutexLock lock(&mu_);
  SqliteQuery query = db_->Query(
      "SELECT sequence, body FROM log_lines WHERE run_id = ? AND sequence > ? ORDER BY sequence "
      "DESC LIMIT ?");
  query.Bind(run_id).Bind(after).Bind(tail > 0 ? tail : kKeptLogLines);
  std::vector<LogRecord> out;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) break;
    LogRecord record{query.Int(0), run_id, {}};
    if (!record.line.ParseFromString(query.Text(1))) {
      return absl::DataLossError(
          absl::StrCat("store ", db_->path(), ": a log line cannot be read"));
    }
    out.push_back(std::move(record));
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace tritter
