#include "coordinator/store/memory_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tritter {

MemoryStore::MemoryStore(std::string store_id) : store_id_(std::move(store_id)) {}

absl::Status MemoryStore::CheckUniqueLocked(const WriteBatch& batch) {
  std::set<std::string> keys;
  for (const IdempotencyRecord& k : batch.keys) {
    if (keys_.contains(k.key) || !keys.insert(k.key).second) {
      return absl::AlreadyExistsError(
          absl::StrCat("idempotency key ", k.key, " is in the store already"));
    }
  }
  std::set<int64_t> ids;
  for (const v1::Event& e : batch.events) {
    if (events_.contains(e.id()) || !ids.insert(e.id()).second) {
      return absl::AlreadyExistsError(absl::StrCat("event ", e.id(), " is in the store already"));
    }
  }
  return absl::OkStatus();
}

void MemoryStore::SupersedeLocked(const Supersede& s) {
  for (auto& [key, row] : metrics_[s.run_id]) {
    if (key.first > s.after_step) row.superseded = true;
  }
  for (auto& [key, row] : evaluations_[s.run_id]) {
    if (std::get<0>(key) > s.after_step) row.superseded = true;
  }
}

void MemoryStore::AppendLogLocked(LogRecord record) {
  record.sequence = next_log_++;
  std::vector<LogRecord>& log = logs_[record.run_id];
  log.push_back(std::move(record));
  if (log.size() > kKeptLogLines) log.erase(log.begin());
}

void MemoryStore::DeleteLocked(const std::string& run_id) {
  runs_.erase(run_id);
  checkpoints_.erase(run_id);
  artifacts_.erase(run_id);
  metrics_.erase(run_id);
  evaluations_.erase(run_id);
  logs_.erase(run_id);
  const auto of_run = [&](const auto& entry) { return entry.first.first == run_id; };
  std::erase_if(epochs_, of_run);
  std::erase_if(plans_, of_run);
  std::erase_if(shares_, of_run);
  std::erase_if(requests_, of_run);
  std::erase_if(keys_, [&](const auto& entry) { return entry.second.run_id == run_id; });
  std::erase_if(events_, [&](const auto& entry) { return entry.second.run_id() == run_id; });
}

void MemoryStore::PruneLocked(const Prune& prune) {
  const auto ended = [&](const std::string& run_id) REQUIRES(mu_) {
    const auto it = runs_.find(run_id);
    return it == runs_.end() || it->second.finished_ms != 0;
  };
  const auto drop_events = [&](int64_t keep, bool all) REQUIRES(mu_) {
    int64_t beyond = static_cast<int64_t>(events_.size()) - keep, left = prune.rows;
    for (auto it = events_.begin(); beyond-- > 0 && left > 0;) {
      const bool drop = all || ended(it->second.run_id());
      left -= drop;
      it = drop ? events_.erase(it) : std::next(it);
    }
  };
  if (prune.keep_events > 0) {
    drop_events(prune.keep_events, false);
    drop_events(10 * prune.keep_events, true);
  }
  std::vector<std::pair<int64_t, std::string>> old;
  for (const auto& [key, record] : keys_) {
    if (record.created_ms < prune.keys_before_ms && ended(record.run_id))
      old.emplace_back(record.created_ms, key);
  }
  std::sort(old.begin(), old.end());
  if (static_cast<int64_t>(old.size()) > prune.rows) old.resize(static_cast<size_t>(prune.rows));
  for (const auto& [created_ms, key] : old) keys_.erase(key);
}

absl::Status MemoryStore::Apply(const WriteBatch& batch) {
  MutexLock lock(&mu_);
  if (absl::Status s = CheckUniqueLocked(batch); !s.ok()) return s;
  for (const std::string& run_id : batch.deleted_runs) DeleteLocked(run_id);
  for (const RunRecord& r : batch.runs) runs_[r.run_id] = r;
  for (const IdempotencyRecord& k : batch.keys) keys_[k.key] = k;
  for (const EpochRecord& e : batch.epochs) epochs_[{e.run_id, e.epoch}] = e;
  for (const EpochKey& e : batch.forget_epochs) {
    plans_.erase({e.run_id, e.epoch});
    shares_.erase({e.run_id, e.epoch});
    requests_.erase({e.run_id, e.epoch});
  }
  for (const PlanRecord& p : batch.plans) plans_[{p.run_id, p.epoch}][p.plan.first_step()] = p.plan;
  for (const ShareRecord& s : batch.shares) shares_[{s.run_id, s.epoch}][{s.step, s.rank}] = s;
  for (const CheckpointRecord& c : batch.checkpoints)
    checkpoints_[c.run_id][c.checkpoint.step()] = c.checkpoint;
  for (const CheckpointKey& c : batch.dropped_checkpoints) checkpoints_[c.run_id].erase(c.step);
  for (const Supersede& s : batch.superseded) SupersedeLocked(s);
  for (const MetricRecord& m : batch.metrics) {
    metrics_[m.run_id][{m.metrics.step(), m.metrics.epoch()}] = {m.metrics, false};
  }
  for (const EvaluationRecord& e : batch.evaluations) {
    evaluations_[e.run_id][{e.point.step(), e.epoch, e.point.source(), e.point.weights()}] = {
        e.point, false};
  }
  for (const ArtifactRecord& a : batch.artifacts)
    artifacts_[a.run_id][a.artifact.kind()] = a.artifact;
  for (const v1::Event& e : batch.events) events_[e.id()] = e;
  for (const RequestRecord& r : batch.requests) requests_[{r.run_id, r.epoch}].insert(r.request_id);
  for (const LogRecord& l : batch.log_lines) AppendLogLocked(l);
  for (const Prune& p : batch.prunes) PruneLocked(p);
  return absl::OkStatus();
}

absl::StatusOr<std::string> MemoryStore::StoreId() { return store_id_; }

absl::StatusOr<std::vector<RunRecord>> MemoryStore::Runs() {
  MutexLock lock(&mu_);
  std::vector<RunRecord> out;
  for (const auto& [id, run] : runs_) out.push_back(run);
  std::sort(out.begin(), out.end(), [](const RunRecord& a, const RunRecord& b) {
    return std::tie(a.created_ms, a.run_id) < std::tie(b.created_ms, b.run_id);
  });
  return out;
}

absl::StatusOr<std::vector<EpochRecord>> MemoryStore::LiveEpochs() {
  MutexLock lock(&mu_);
  std::vector<EpochRecord> out;
  for (const auto& [key, epoch] : epochs_) {
    if (epoch.live) out.push_back(epoch);
  }
  return out;
}

absl::StatusOr<std::vector<EpochRecord>> MemoryStore::Epochs(const std::string& run_id,
                                                             int64_t limit) {
  MutexLock lock(&mu_);
  std::vector<EpochRecord> out;
  for (const auto& [key, epoch] : epochs_) {
    if (epoch.run_id == run_id) out.push_back(epoch);
  }
  if (static_cast<int64_t>(out.size()) > limit) out.erase(out.begin(), out.end() - limit);
  return out;
}

absl::StatusOr<LastEpochs> MemoryStore::Last(const std::string& run_id) {
  MutexLock lock(&mu_);
  LastEpochs out;
  for (const auto& [key, epoch] : epochs_) {  // by number
    if (epoch.run_id != run_id || epoch.live) continue;
    out.ended = epoch;
    if (!epoch.failure.empty()) out.failed = epoch;
  }
  return out;
}

absl::StatusOr<std::vector<v1::Plan>> MemoryStore::Plans(const std::string& run_id,
                                                         uint64_t epoch) {
  MutexLock lock(&mu_);
  std::vector<v1::Plan> out;
  for (const auto& [step, plan] : plans_[{run_id, epoch}]) out.push_back(plan);
  return out;
}

absl::StatusOr<std::vector<ShareRecord>> MemoryStore::Shares(const std::string& run_id,
                                                             uint64_t epoch) {
  MutexLock lock(&mu_);
  std::vector<ShareRecord> out;
  for (const auto& [key, share] : shares_[{run_id, epoch}]) out.push_back(share);
  return out;
}

absl::StatusOr<std::vector<v1::Checkpoint>> MemoryStore::Checkpoints(const std::string& run_id) {
  MutexLock lock(&mu_);
  std::vector<v1::Checkpoint> out;
  for (const auto& [step, checkpoint] : checkpoints_[run_id]) out.push_back(checkpoint);
  return out;
}

absl::StatusOr<std::vector<v1::Artifact>> MemoryStore::Artifacts(const std::string& run_id) {
  MutexLock lock(&mu_);
  std::vector<v1::Artifact> out;
  for (const auto& [kind, artifact] : artifacts_[run_id]) out.push_back(artifact);
  return out;
}

absl::StatusOr<int64_t> MemoryStore::LastEventId() {
  MutexLock lock(&mu_);
  return events_.empty() ? 0 : events_.rbegin()->first;
}

absl::StatusOr<std::vector<v1::Event>> MemoryStore::Events(const std::string& run_id,
                                                           int64_t after_id, int64_t limit) {
  MutexLock lock(&mu_);
  std::vector<v1::Event> out;
  for (auto it = events_.upper_bound(after_id); it != events_.end(); ++it) {
    if (static_cast<int64_t>(out.size()) >= limit) break;
    if (run_id.empty() || it->second.run_id() == run_id) out.push_back(it->second);
  }
  return out;
}

absl::StatusOr<std::vector<v1::StepMetrics>> MemoryStore::Metrics(const std::string& run_id,
                                                                  int64_t first, int64_t last,
                                                                  int64_t limit) {
  MutexLock lock(&mu_);
  std::vector<v1::StepMetrics> out;
  for (const auto& [key, row] : metrics_[run_id]) {
    if (row.superseded || key.first < first || (last != 0 && key.first > last)) continue;
    if (static_cast<int64_t>(out.size()) >= limit) break;
    out.push_back(row.value);
  }
  return out;
}

absl::StatusOr<int64_t> MemoryStore::SupersededSteps(const std::string& run_id) {
  MutexLock lock(&mu_);
  int64_t n = 0;
  for (const auto& [key, row] : metrics_[run_id]) n += row.superseded;
  return n;
}

absl::StatusOr<std::vector<v1::EvaluationPoint>> MemoryStore::Evaluations(const std::string& run_id,
                                                                          int64_t first,
                                                                          int64_t last,
                                                                          int64_t limit) {
  MutexLock lock(&mu_);
  std::vector<v1::EvaluationPoint> out;
  for (const auto& [key, row] : evaluations_[run_id]) {
    const int64_t step = std::get<0>(key);
    if (row.superseded || step < first || (last != 0 && step > last)) continue;
    if (static_cast<int64_t>(out.size()) >= limit) break;
    out.push_back(row.value);
  }
  return out;
}

absl::StatusOr<std::optional<IdempotencyRecord>> MemoryStore::FindKey(const std::string& key) {
  MutexLock lock(&mu_);
  const auto it = keys_.find(key);
  if (it == keys_.end()) return std::optional<IdempotencyRecord>();
  return std::optional<IdempotencyRecord>(it->second);
}

absl::StatusOr<bool> MemoryStore::RequestSeen(const RequestRecord& request) {
  MutexLock lock(&mu_);
  return requests_[{request.run_id, request.epoch}].contains(request.request_id);
}

absl::StatusOr<std::vector<LogRecord>> MemoryStore::LogLines(const std::string& run_id,
                                                             int64_t after, int64_t tail) {
  MutexLock lock(&mu_);
  std::vector<LogRecord> out;
  for (const LogRecord& l : logs_[run_id]) {
    if (l.sequence > after) out.push_back(l);
  }
  if (tail > 0 && static_cast<int64_t>(out.size()) > tail) out.erase(out.begin(), out.end() - tail);
  return out;
}

}  // namespace tritter
