#include "coordinator/store/sql_statements.h"

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tritter {
namespace {

using Columns = std::vector<std::string>;

// A row that takes the place of one with the same key.
std::string Upsert(const std::string& table, const Columns& key, const Columns& others) {
  Columns all = key, numbers, changes;
  all.insert(all.end(), others.begin(), others.end());
  for (size_t i = 1; i <= all.size(); ++i) numbers.push_back(absl::StrCat("$", i));
  for (const std::string& c : others) changes.push_back(absl::StrCat(c, " = excluded.", c));
  return absl::StrCat(
      "INSERT INTO ", table, " (", absl::StrJoin(all, ", "), ") VALUES (",
      absl::StrJoin(numbers, ", "), ") ON CONFLICT (", absl::StrJoin(key, ", "), ") DO ",
      changes.empty() ? "NOTHING" : absl::StrCat("UPDATE SET ", absl::StrJoin(changes, ", ")));
}

SqlStatement Of(const RunRecord& r) {
  static const auto* const sql = new std::string(
      Upsert("runs", {"run_id"},
             {"name", "state", "reason", "intent", "spec_yaml", "spec_hash", "run_dir",
              "total_steps", "priority", "step", "best_step", "epoch", "epochs_lost", "failures",
              "created_ms", "started_ms", "finished_ms", "reported_tokens", "reported_us"}));
  return {*sql,
          {r.run_id,
           r.name,
           static_cast<int64_t>(r.state),
           r.reason,
           static_cast<int64_t>(r.intent),
           r.spec_yaml,
           r.spec_hash,
           r.run_dir,
           r.total_steps,
           r.priority,
           r.step,
           r.best_step,
           r.epoch,
           r.epochs_lost,
           r.failures,
           r.created_ms,
           r.started_ms,
           r.finished_ms,
           r.reported_tokens,
           r.reported_us}};
}

SqlStatement Of(const EpochRecord& e) {
  static const auto* const sql =
      new std::string(Upsert("epochs", {"run_id", "epoch"},
                             {"live", "start_step", "manifest_sha256", "rendezvous", "end_reason",
                              "started_ms", "ended_ms", "end_step", "failure"}));
  return {*sql,
          {e.run_id, e.epoch, static_cast<int64_t>(e.live), e.start_step, e.manifest_sha256,
           e.rendezvous, e.end_reason, e.started_ms, e.ended_ms, e.end_step,
           SqlValue::Blob(e.failure)}};
}

SqlStatement Of(const EpochRecord& e, int64_t rank) {
  static const auto* const sql = new std::string(Upsert(
      "members", {"run_id", "epoch", "rank"}, {"worker", "incarnation", "device", "memory_bytes"}));
  const MemberRecord& m = e.members[rank];
  return {*sql, {e.run_id, e.epoch, rank, m.worker, m.incarnation, m.device, m.memory_bytes}};
}

SqlStatement Of(const IdempotencyRecord& k) {
  return {
      "INSERT INTO idempotency_keys (key, request_hash, run_id, created_ms) VALUES ($1, $2, $3, "
      "$4)",
      {k.key, k.request_hash, k.run_id, k.created_ms}};
}

SqlStatement Of(const PlanRecord& p) {
  static const auto* const sql =
      new std::string(Upsert("plans", {"run_id", "epoch", "first_step"}, {"body"}));
  return {*sql,
          {p.run_id, p.epoch, int64_t{p.plan.first_step()},
           SqlValue::Blob(p.plan.SerializeAsString())}};
}

SqlStatement Of(const ShareRecord& s) {
  static const auto* const sql =
      new std::string(Upsert("shares", {"run_id", "epoch", "step", "rank"}, {"body"}));
  return {*sql, {s.run_id, s.epoch, s.step, s.rank, SqlValue::Blob(s.share.SerializeAsString())}};
}

SqlStatement Of(const CheckpointRecord& c) {
  static const auto* const sql =
      new std::string(Upsert("checkpoints", {"run_id", "step"}, {"body"}));
  return {
      *sql,
      {c.run_id, int64_t{c.checkpoint.step()}, SqlValue::Blob(c.checkpoint.SerializeAsString())}};
}

SqlStatement Of(const MetricRecord& m) {
  static const auto* const sql =
      new std::string(Upsert("metrics", {"run_id", "step", "epoch"}, {"superseded", "body"}));
  return {*sql,
          {m.run_id, int64_t{m.metrics.step()}, uint64_t{m.metrics.epoch()}, 0,
           SqlValue::Blob(m.metrics.SerializeAsString())}};
}

SqlStatement Of(const EvaluationRecord& e) {
  static const auto* const sql = new std::string(Upsert(
      "evaluations", {"run_id", "step", "epoch", "source", "weights"}, {"superseded", "body"}));
  return {*sql,
          {e.run_id, int64_t{e.point.step()}, e.epoch, e.point.source(), e.point.weights(), 0,
           SqlValue::Blob(e.point.SerializeAsString())}};
}

SqlStatement Of(const ArtifactRecord& a) {
  static const auto* const sql = new std::string(Upsert("artifacts", {"run_id", "kind"}, {"body"}));
  return {*sql, {a.run_id, a.artifact.kind(), SqlValue::Blob(a.artifact.SerializeAsString())}};
}

SqlStatement Of(const v1::Event& e) {
  return {"INSERT INTO events (id, run_id, body) VALUES ($1, $2, $3)",
          {int64_t{e.id()}, e.run_id(), SqlValue::Blob(e.SerializeAsString())}};
}

SqlStatement Of(const RequestRecord& r) {
  static const auto* const sql =
      new std::string(Upsert("requests", {"run_id", "epoch", "request_id"}, {}));
  return {*sql, {r.run_id, r.epoch, r.request_id}};
}

// The newest line is never removed, so numbers increase for ever.
SqlStatement Of(const LogRecord& l) {
  return {
      "INSERT INTO log_lines (sequence, run_id, body) VALUES ("
      "(SELECT coalesce(max(sequence), 0) + 1 FROM log_lines), $1, $2)",
      {l.run_id, SqlValue::Blob(l.line.SerializeAsString())}};
}

void Forget(const EpochKey& e, std::vector<SqlStatement>* out) {
  for (const char* table : {"plans", "shares", "requests"}) {
    out->push_back({absl::StrCat("DELETE FROM ", table, " WHERE run_id = $1 AND epoch = $2"),
                    {e.run_id, e.epoch}});
  }
}

void Append(const Supersede& s, std::vector<SqlStatement>* out) {
  for (const char* table : {"metrics", "evaluations"}) {
    out->push_back(
        {absl::StrCat("UPDATE ", table, " SET superseded = 1 WHERE run_id = $1 AND step > $2"),
         {s.run_id, s.after_step}});
  }
}

SqlStatement TrimLog(const std::string& run_id) {
  return {
      "DELETE FROM log_lines WHERE run_id = $1 AND sequence <= (SELECT sequence FROM log_lines "
      "WHERE run_id = $1 ORDER BY sequence DESC LIMIT 1 OFFSET $2)",
      {run_id, kKeptLogLines}};
}

void Delete(const std::string& run_id, std::vector<SqlStatement>* out) {
  for (const char* table :
       {"runs", "idempotency_keys", "epochs", "members", "plans", "shares", "checkpoints",
        "metrics", "evaluations", "artifacts", "events", "requests", "log_lines"})
    out->push_back({absl::StrCat("DELETE FROM ", table, " WHERE run_id = $1"), {run_id}});
}

void Append(const Prune& p, std::vector<SqlStatement>* out) {
  constexpr char kOfEnded[] = "run_id NOT IN (SELECT run_id FROM runs WHERE finished_ms = 0)";
  constexpr int64_t kMost = 10;  // times keep_events
  // Events beyond the newest $1.
  const auto beyond = [](absl::string_view condition) {
    return absl::StrCat(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id <= (SELECT id FROM events "
        "ORDER BY id DESC LIMIT 1 OFFSET $1)",
        condition, " ORDER BY id LIMIT $2)");
  };
  if (p.keep_events > 0) {
    out->push_back({beyond(absl::StrCat(" AND ", kOfEnded)), {p.keep_events, p.rows}});
    out->push_back({beyond(""), {kMost * p.keep_events, p.rows}});
  }
  out->push_back(
      {absl::StrCat("DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys "
                    "WHERE created_ms < $1 AND ",
                    kOfEnded, " ORDER BY created_ms LIMIT $2)"),
       {p.keys_before_ms, p.rows}});
}

}  // namespace

std::vector<SqlStatement> StatementsOf(const WriteBatch& batch) {
  std::vector<SqlStatement> out;
  const auto append = [&out](const auto& records) {
    for (const auto& r : records) out.push_back(Of(r));
  };
  for (const std::string& run_id : batch.deleted_runs) Delete(run_id, &out);
  append(batch.runs);
  append(batch.keys);
  for (const EpochRecord& e : batch.epochs) {
    out.push_back(Of(e));
    const auto members = static_cast<int64_t>(e.members.size());
    for (int64_t rank = 0; rank < members; ++rank) out.push_back(Of(e, rank));
  }
  for (const EpochKey& e : batch.forget_epochs) Forget(e, &out);
  append(batch.plans);
  append(batch.shares);
  append(batch.checkpoints);
  for (const CheckpointKey& c : batch.dropped_checkpoints) {
    out.push_back({"DELETE FROM checkpoints WHERE run_id = $1 AND step = $2", {c.run_id, c.step}});
  }
  for (const Supersede& s : batch.superseded) Append(s, &out);
  append(batch.metrics);
  append(batch.evaluations);
  append(batch.artifacts);
  append(batch.events);
  append(batch.requests);
  append(batch.log_lines);
  std::set<std::string> logged;
  for (const LogRecord& l : batch.log_lines) logged.insert(l.run_id);
  for (const std::string& run_id : logged) out.push_back(TrimLog(run_id));
  for (const Prune& p : batch.prunes) Append(p, &out);
  return out;
}

}  // namespace tritter
