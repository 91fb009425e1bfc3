// The reading half of SqlStore.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/store/sql_store.h"
#include "model/utf8.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

// `row`: which one, "a row of plans of run r-a".
absl::Status Unreadable(const SqlDatabase& db, const std::string& row) {
  return absl::DataLossError(absl::StrCat("store ", db.name(), ": ", row,
                                          " cannot be read as a message; restore a backup"));
}

// Every row of `query` as one message, from column 0. `of`: "plans of run r-a".
template <typename T>
absl::StatusOr<std::vector<T>> Bodies(SqlDatabase* db, const std::string& of,
                                      const SqlStatement& query) {
  std::vector<T> out;
  RETURN_IF_ERROR(db->Select(query, [&](const SqlRow& row) {
    return out.emplace_back().ParseFromString(row.Bytes(0))
               ? absl::OkStatus()
               : Unreadable(*db, absl::StrCat("a row of ", of));
  }));
  return out;
}

// A text that somebody may have damaged: messages take whole UTF-8 only.
std::string Text(const SqlRow& row, int column) { return WholeUtf8(row.Bytes(column)); }

// The number that a query of one row gives; 0 without a row.
absl::StatusOr<int64_t> Number(SqlDatabase* db, const SqlStatement& query) {
  int64_t out = 0;
  RETURN_IF_ERROR(SelectOne(db, query, [&](const SqlRow& row) { out = row.Int(0); }).status());
  return out;
}

RunRecord RunOf(const SqlRow& q) {
  RunRecord r;
  r.run_id = Text(q, 0);
  r.name = Text(q, 1);
  r.state = static_cast<v1::RunState>(q.Int(2));
  r.reason = Text(q, 3);
  r.intent = static_cast<Intent>(q.Int(4));
  r.spec_yaml = Text(q, 5);
  r.spec_hash = Text(q, 6);
  r.run_dir = Text(q, 7);
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

EpochRecord EpochOf(const SqlRow& q) {
  EpochRecord e;
  e.run_id = Text(q, 0);
  e.epoch = static_cast<uint64_t>(q.Int(1));
  e.live = q.Int(2) != 0;
  e.start_step = q.Int(3);
  e.manifest_sha256 = Text(q, 4);
  e.rendezvous = Text(q, 5);
  e.end_reason = Text(q, 6);
  e.started_ms = q.Int(7);
  e.ended_ms = q.Int(8);
  e.end_step = q.Int(9);
  e.failure = q.Bytes(10);
  return e;
}

// With their members, by run and number.
absl::StatusOr<std::vector<EpochRecord>> EpochsWhere(SqlDatabase* db, const std::string& condition,
                                                     std::vector<SqlValue> values) {
  std::vector<EpochRecord> out;
  RETURN_IF_ERROR(db->Select(
      {absl::StrCat("SELECT e.run_id, e.epoch, live, start_step, manifest_sha256, rendezvous, "
                    "end_reason, started_ms, ended_ms, end_step, failure, coalesce(rank, -1), "
                    "worker, incarnation, device, memory_bytes "
                    "FROM epochs AS e LEFT JOIN members AS m ON m.run_id = e.run_id AND "
                    "m.epoch = e.epoch WHERE ",
                    condition, " ORDER BY e.run_id, e.epoch, rank"),
       std::move(values)},
      [&](const SqlRow& row) {
        EpochRecord epoch = EpochOf(row);
        if (out.empty() || out.back().run_id != epoch.run_id || out.back().epoch != epoch.epoch)
          out.push_back(std::move(epoch));
        if (row.Int(11) >= 0) {
          out.back().members.push_back(
              {Text(row, 12), static_cast<uint64_t>(row.Int(13)), Text(row, 14), row.Int(15)});
        }
        return absl::OkStatus();
      }));
  return out;
}

int64_t LastOrMax(int64_t last) { return last == 0 ? std::numeric_limits<int64_t>::max() : last; }

}  // namespace

absl::StatusOr<std::string> StoreIdOf(SqlDatabase* db) {
  std::string id;
  RETURN_IF_ERROR(SelectOne(db, {"SELECT value FROM meta WHERE key = $1", {"store_id"}},
                            [&](const SqlRow& row) { id = row.Bytes(0); })
                      .status());
  if (!id.empty()) return id;
  return absl::DataLossError(
      absl::StrCat("store ", db->name(), " has no identity; restore a backup"));
}

absl::StatusOr<std::string> SqlStore::StoreId() {
  MutexLock lock(&mu_);
  return StoreIdOf(db_.get());
}

absl::StatusOr<std::vector<RunRecord>> SqlStore::Runs() {
  MutexLock lock(&mu_);
  std::vector<RunRecord> out;
  RETURN_IF_ERROR(db_->Select(
      {"SELECT run_id, name, state, reason, intent, spec_yaml, spec_hash, run_dir, total_steps, "
       "priority, step, best_step, epoch, epochs_lost, failures, created_ms, started_ms, "
       "finished_ms, reported_tokens, reported_us FROM runs ORDER BY created_ms, run_id",
       {}},
      [&](const SqlRow& row) {
        out.push_back(RunOf(row));
        return absl::OkStatus();
      }));
  return out;
}

absl::StatusOr<std::vector<EpochRecord>> SqlStore::LiveEpochs() {
  MutexLock lock(&mu_);
  return EpochsWhere(db_.get(), "live = 1", {});
}

absl::StatusOr<std::vector<EpochRecord>> SqlStore::Epochs(const std::string& run_id,
                                                          int64_t limit) {
  MutexLock lock(&mu_);
  return EpochsWhere(db_.get(),
                     "e.run_id = $1 AND e.epoch > (SELECT coalesce(max(epoch), 0) FROM epochs "
                     "WHERE run_id = $1) - $2",
                     {run_id, limit});
}

absl::StatusOr<LastEpochs> SqlStore::Last(const std::string& run_id) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const std::vector<EpochRecord> found,
                   EpochsWhere(db_.get(),
                               "e.run_id = $1 AND e.epoch IN ("
                               "(SELECT epoch FROM epochs WHERE run_id = $1 AND live = 0 "
                               "ORDER BY epoch DESC LIMIT 1), "
                               "(SELECT epoch FROM epochs WHERE run_id = $1 AND live = 0 AND "
                               "length(failure) > 0 ORDER BY epoch DESC LIMIT 1))",
                               {run_id}));
  LastEpochs out;
  if (found.empty()) return out;
  out.ended = found.back();
  for (const EpochRecord& epoch : found) {  // by number
    if (!epoch.failure.empty()) out.failed = epoch;
  }
  return out;
}

absl::StatusOr<std::vector<v1::Plan>> SqlStore::Plans(const std::string& run_id, uint64_t epoch) {
  MutexLock lock(&mu_);
  return Bodies<v1::Plan>(
      db_.get(), absl::StrCat("plans of run ", run_id, ", epoch ", epoch),
      {"SELECT body FROM plans WHERE run_id = $1 AND epoch = $2 ORDER BY first_step",
       {run_id, epoch}});
}

absl::StatusOr<std::vector<ShareRecord>> SqlStore::Shares(const std::string& run_id,
                                                          uint64_t epoch) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(
      std::vector<v1::CommitShareRequest> shares,
      Bodies<v1::CommitShareRequest>(
          db_.get(), absl::StrCat("shares of run ", run_id, ", epoch ", epoch),
          {"SELECT body FROM shares WHERE run_id = $1 AND epoch = $2 ORDER BY step, rank",
           {run_id, epoch}}));
  std::vector<ShareRecord> out;
  for (v1::CommitShareRequest& share : shares) {
    const int64_t step = share.step();
    const int32_t rank = share.rank();
    out.push_back({run_id, epoch, step, rank, std::move(share)});
  }
  return out;
}

absl::StatusOr<std::vector<v1::Checkpoint>> SqlStore::Checkpoints(const std::string& run_id) {
  MutexLock lock(&mu_);
  return Bodies<v1::Checkpoint>(
      db_.get(), absl::StrCat("checkpoints of run ", run_id),
      {"SELECT body FROM checkpoints WHERE run_id = $1 ORDER BY step", {run_id}});
}

absl::StatusOr<std::vector<v1::Artifact>> SqlStore::Artifacts(const std::string& run_id) {
  MutexLock lock(&mu_);
  return Bodies<v1::Artifact>(
      db_.get(), absl::StrCat("artifacts of run ", run_id),
      {"SELECT body FROM artifacts WHERE run_id = $1 ORDER BY kind", {run_id}});
}

absl::StatusOr<int64_t> SqlStore::LastEventId() {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const int64_t last,
                   Number(db_.get(), {"SELECT coalesce(max(id), 0) FROM events", {}}));
  constexpr int64_t kMost = int64_t{1} << 53;
  if (last >= 0 && last <= kMost) return last;
  return absl::DataLossError(absl::StrCat("store ", db_->name(), ": the newest event has id ", last,
                                          ", none can follow; restore a backup"));
}

absl::StatusOr<std::vector<v1::Event>> SqlStore::Events(const std::string& run_id, int64_t after_id,
                                                        int64_t limit) {
  MutexLock lock(&mu_);
  SqlDatabase* const db = db_.get();
  const SqlStatement all = {
      "SELECT body, id, run_id FROM events WHERE id > $1 ORDER BY id LIMIT $2", {after_id, limit}};
  const SqlStatement of_run = {
      "SELECT body, id, run_id FROM events WHERE run_id = $1 AND id > $2 ORDER BY id LIMIT $3",
      {run_id, after_id, limit}};
  std::vector<v1::Event> out;
  RETURN_IF_ERROR(db->Select(run_id.empty() ? all : of_run, [&](const SqlRow& row) {
    v1::Event& event = out.emplace_back();
    if (event.ParseFromString(row.Bytes(0)) && event.id() == row.Int(1)) return absl::OkStatus();
    // Those around it are told all the same, and nobody reads it twice.
    event.Clear();
    event.set_id(row.Int(1));
    event.set_run_id(Text(row, 2));
    event.set_kind(kEventUnreadable);
    event.set_message(std::string(Unreadable(*db, absl::StrCat("event ", row.Int(1))).message()));
    return absl::OkStatus();
  }));
  return out;
}

absl::StatusOr<std::vector<v1::StepMetrics>> SqlStore::Metrics(const std::string& run_id,
                                                               int64_t first, int64_t last,
                                                               int64_t limit) {
  MutexLock lock(&mu_);
  return Bodies<v1::StepMetrics>(
      db_.get(), absl::StrCat("metrics of run ", run_id),
      {"SELECT body FROM metrics WHERE run_id = $1 AND step >= $2 AND step <= $3 AND "
       "superseded = 0 ORDER BY step, epoch LIMIT $4",
       {run_id, first, LastOrMax(last), limit}});
}

absl::StatusOr<int64_t> SqlStore::SupersededSteps(const std::string& run_id) {
  MutexLock lock(&mu_);
  return Number(db_.get(),
                {"SELECT count(*) FROM metrics WHERE run_id = $1 AND superseded = 1", {run_id}});
}

absl::StatusOr<std::vector<v1::EvaluationPoint>> SqlStore::Evaluations(const std::string& run_id,
                                                                       int64_t first, int64_t last,
                                                                       int64_t limit) {
  MutexLock lock(&mu_);
  return Bodies<v1::EvaluationPoint>(
      db_.get(), absl::StrCat("evaluations of run ", run_id),
      {"SELECT body FROM evaluations WHERE run_id = $1 AND step >= $2 AND step <= $3 "
       "AND superseded = 0 ORDER BY step, epoch, source, weights LIMIT $4",
       {run_id, first, LastOrMax(last), limit}});
}

absl::StatusOr<std::optional<IdempotencyRecord>> SqlStore::FindKey(const std::string& key) {
  MutexLock lock(&mu_);
  std::optional<IdempotencyRecord> out;
  RETURN_IF_ERROR(
      SelectOne(
          db_.get(),
          {"SELECT request_hash, run_id, created_ms FROM idempotency_keys WHERE key = $1", {key}},
          [&](const SqlRow& row) { out = {key, row.Bytes(0), row.Bytes(1), row.Int(2)}; })
          .status());
  return out;
}

absl::StatusOr<bool> SqlStore::RequestSeen(const RequestRecord& request) {
  MutexLock lock(&mu_);
  return SelectOne(db_.get(),
                   {"SELECT 1 FROM requests WHERE run_id = $1 AND epoch = $2 AND request_id = $3",
                    {request.run_id, request.epoch, request.request_id}},
                   [](const SqlRow&) {});
}

absl::StatusOr<int64_t> SqlStore::Bytes() {
  MutexLock lock(&mu_);
  return db_->Bytes();
}

absl::StatusOr<std::vector<LogRecord>> SqlStore::LogLines(const std::string& run_id, int64_t after,
                                                          int64_t tail) {
  MutexLock lock(&mu_);
  SqlDatabase* const db = db_.get();
  std::vector<LogRecord> out;
  RETURN_IF_ERROR(db->Select(
      {"SELECT sequence, body FROM log_lines WHERE run_id = $1 AND sequence > $2 ORDER BY sequence "
       "DESC LIMIT $3",
       {run_id, after, tail > 0 ? tail : kKeptLogLines}},
      [&](const SqlRow& row) {
        LogRecord record{row.Int(0), run_id, {}};
        if (!record.line.ParseFromString(row.Bytes(1))) {
          record.line.Clear();
          record.line.set_line(
              std::string(Unreadable(*db, absl::StrCat("log line ", record.sequence)).message()));
        }
        out.push_back(std::move(record));
        return absl::OkStatus();
      }));
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace tritter
