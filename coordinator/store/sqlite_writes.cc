#include "coordinator/store/sqlite_writes.h"

#include <cstdint>
#include <set>
#include <string>

#include "common/status_macros.h"

namespace tritter {
namespace {

class Writer {
 public:
  Writer(SqliteDb* db, const std::function<absl::Status()>& before_each)
      : db_(db), before_each_(before_each) {}

  template <typename... Args>
  absl::Status Run(const std::string& sql, const Args&... args) {
    RETURN_IF_ERROR(before_each_());
    SqliteQuery query = db_->Query(sql);
    (query.Bind(args), ...);
    return query.Run();
  }
  // `body` is bound last, as a blob.
  template <typename... Args>
  absl::Status RunWithBody(const std::string& sql, const std::string& body, const Args&... args) {
    RETURN_IF_ERROR(before_each_());
    SqliteQuery query = db_->Query(sql);
    (query.Bind(args), ...);
    query.BindBlob(body);
    return query.Run();
  }

  absl::Status Run(const RunRecord& r) {
    return Run(
        "INSERT OR REPLACE INTO runs (run_id, name, state, reason, intent, spec_yaml, spec_hash, "
        "run_dir, total_steps, "
        "priority, step, best_step, epoch, epochs_lost, failures, created_ms, started_ms, "
        "finished_ms, reported_tokens, reported_us) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        r.run_id, r.name, static_cast<int64_t>(r.state), r.reason, static_cast<int64_t>(r.intent),
        r.spec_yaml, r.spec_hash, r.run_dir, r.total_steps, r.priority, r.step, r.best_step,
        r.epoch, r.epochs_lost, r.failures, r.created_ms, r.started_ms, r.finished_ms,
        r.reported_tokens, r.reported_us);
  }

  absl::Status Run(const EpochRecord& e) {
    RETURN_IF_ERROR(
        Run("INSERT OR REPLACE INTO epochs (run_id, epoch, live, start_step, manifest_sha256, "
            "rendezvous, end_reason, "
            "started_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            e.run_id, e.epoch, static_cast<int64_t>(e.live), e.start_step, e.manifest_sha256,
            e.rendezvous, e.end_reason, e.started_ms, e.ended_ms));
    int64_t rank = 0;
    for (const MemberRecord& m : e.members) {
      RETURN_IF_ERROR(
          Run("INSERT OR REPLACE INTO members (run_id, epoch, rank, worker, incarnation, device, "
              "memory_bytes) "
              "VALUES (?, ?, ?, ?, ?, ?, ?)",
              e.run_id, e.epoch, rank++, m.worker, m.incarnation, m.device, m.memory_bytes));
    }
    return absl::OkStatus();
  }

  absl::Status Forget(const EpochKey& e) {
    RETURN_IF_ERROR(Run("DELETE FROM plans WHERE run_id = ? AND epoch = ?", e.run_id, e.epoch));
    RETURN_IF_ERROR(Run("DELETE FROM shares WHERE run_id = ? AND epoch = ?", e.run_id, e.epoch));
    return Run("DELETE FROM requests WHERE run_id = ? AND epoch = ?", e.run_id, e.epoch);
  }

  absl::Status Run(const Supersede& s) {
    RETURN_IF_ERROR(Run("UPDATE metrics SET superseded = 1 WHERE run_id = ? AND step > ?", s.run_id,
                        s.after_step));
    return Run("UPDATE evaluations SET superseded = 1 WHERE run_id = ? AND step > ?", s.run_id,
               s.after_step);
  }

  absl::Status TrimLog(const std::string& run_id) {
    return Run(
        "DELETE FROM log_lines WHERE run_id = ? AND sequence <= (SELECT sequence FROM log_lines "
        "WHERE run_id = ? "
        "ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
        run_id, run_id, kKeptLogLines);
  }

 private:
  SqliteDb* const db_;
  const std::function<absl::Status()>& before_each_;
};

}  // namespace

absl::Status WriteBatchStatements(SqliteDb* db, const WriteBatch& batch,
                                  const std::function<absl::Status()>& before_each) {
  Writer w(db, before_each);
  for (const RunRecord& r : batch.runs) RETURN_IF_ERROR(w.Run(r));
  for (const IdempotencyRecord& k : batch.keys) {
    RETURN_IF_ERROR(
        w.Run("INSERT INTO idempotency_keys (key, request_hash, run_id) VALUES (?, ?, ?)", k.key,
              k.request_hash, k.run_id));
  }
  for (const EpochRecord& e : batch.epochs) RETURN_IF_ERROR(w.Run(e));
  for (const EpochKey& e : batch.forget_epochs) RETURN_IF_ERROR(w.Forget(e));
  for (const PlanRecord& p : batch.plans) {
    RETURN_IF_ERROR(w.RunWithBody(
        "INSERT OR REPLACE INTO plans (run_id, epoch, first_step, body) VALUES (?, ?, ?, ?)",
        p.plan.SerializeAsString(), p.run_id, p.epoch, int64_t{p.plan.first_step()}));
  }
  for (const ShareRecord& s : batch.shares) {
    RETURN_IF_ERROR(w.RunWithBody(
        "INSERT OR REPLACE INTO shares (run_id, epoch, step, rank, body) VALUES (?, ?, ?, ?, ?)",
        s.share.SerializeAsString(), s.run_id, s.epoch, s.step, s.rank));
  }
  for (const CheckpointRecord& c : batch.checkpoints) {
    RETURN_IF_ERROR(
        w.RunWithBody("INSERT OR REPLACE INTO checkpoints (run_id, step, body) VALUES (?, ?, ?)",
                      c.checkpoint.SerializeAsString(), c.run_id, int64_t{c.checkpoint.step()}));
  }
  for (const CheckpointKey& c : batch.dropped_checkpoints) {
    RETURN_IF_ERROR(
        w.Run("DELETE FROM checkpoints WHERE run_id = ? AND step = ?", c.run_id, c.step));
  }
  for (const Supersede& s : batch.superseded) RETURN_IF_ERROR(w.Run(s));
  for (const MetricRecord& m : batch.metrics) {
    RETURN_IF_ERROR(
        w.RunWithBody("INSERT OR REPLACE INTO metrics (run_id, step, epoch, superseded, body) "
                      "VALUES (?, ?, ?, 0, ?)",
                      m.metrics.SerializeAsString(), m.run_id, int64_t{m.metrics.step()},
                      uint64_t{m.metrics.epoch()}));
  }
  for (const EvaluationRecord& e : batch.evaluations) {
    RETURN_IF_ERROR(
        w.RunWithBody("INSERT OR REPLACE INTO evaluations (run_id, step, epoch, source, weights, "
                      "superseded, body) "
                      "VALUES (?, ?, ?, ?, ?, 0, ?)",
                      e.point.SerializeAsString(), e.run_id, int64_t{e.point.step()}, e.epoch,
                      e.point.source(), e.point.weights()));
  }
  for (const ArtifactRecord& a : batch.artifacts) {
    RETURN_IF_ERROR(
        w.RunWithBody("INSERT OR REPLACE INTO artifacts (run_id, kind, body) VALUES (?, ?, ?)",
                      a.artifact.SerializeAsString(), a.run_id, a.artifact.kind()));
  }
  for (const v1::Event& e : batch.events) {
    RETURN_IF_ERROR(w.RunWithBody("INSERT INTO events (id, run_id, body) VALUES (?, ?, ?)",
                                  e.SerializeAsString(), int64_t{e.id()}, e.run_id()));
  }
  for (const RequestRecord& r : batch.requests) {
    RETURN_IF_ERROR(
        w.Run("INSERT OR REPLACE INTO requests (run_id, epoch, request_id) VALUES (?, ?, ?)",
              r.run_id, r.epoch, r.request_id));
  }
  std::set<std::string> logged;
  for (const LogRecord& l : batch.log_lines) {
    logged.insert(l.run_id);
    RETURN_IF_ERROR(w.RunWithBody("INSERT INTO log_lines (run_id, body) VALUES (?, ?)",
                                  l.line.SerializeAsString(), l.run_id));
  }
  for (const std::string& run_id : logged) RETURN_IF_ERROR(w.TrimLog(run_id));
  return absl::OkStatus();
}

}  // namespace tritter
