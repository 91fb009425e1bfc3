// Following a run: bounded updates, log lines.
#include <algorithm>
#include <utility>

#include "common/status_macros.h"
#include "coordinator/coordinator.h"

namespace tritter {
namespace {
constexpr size_t kMaxMetricsInUpdate = 256;
constexpr int64_t kMaxEventsInUpdate = 256;
}  // namespace

absl::StatusOr<bool> Coordinator::Watch(const std::string& name, absl::Duration wait,
                                        WatchCursor* cursor, v1::RunUpdate* update, bool* ended) {
  const bool first = cursor->version == 0;
  if (first) {
    // What happened before is asked for with the list calls. Read before the state is: what comes
    // between the two is sent, rather than missed.
    ASSIGN_OR_RETURN(cursor->event_id, store_->LastEventId());
  }
  std::string id;
  uint64_t version = 0;
  {
    MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(RunEntry * run, FindRun(name));
    if (run->version == cursor->version && !stopping_) changed_.WaitFor(&mu_, wait);
    if (stopping_)
      return absl::UnavailableError("the coordinator is stopping; watch again when it is back");
    *ended = IsFinal(run->record.state);
    update->Clear();
    if (run->version == cursor->version) return false;
    id = run->record.run_id;
    version = run->version;
    *update->mutable_run() = DescribeRun(*run);
    for (const auto& [sequence, m] : run->recent_metrics) {
      if (!first && sequence > cursor->sequence) *update->add_metrics() = m;
    }
    for (const auto& [sequence, p] : run->recent_evaluations) {
      if (!first && sequence > cursor->sequence) *update->add_evaluations() = p;
    }
    cursor->sequence = run->next_sequence - 1;
  }
  if (const int excess = update->metrics_size() - static_cast<int>(kMaxMetricsInUpdate);
      excess > 0) {
    update->mutable_metrics()->DeleteSubrange(0, excess);
  }
  if (!first) {
    ASSIGN_OR_RETURN(const std::vector<v1::Event> events,
                     store_->Events(id, cursor->event_id, kMaxEventsInUpdate));
    for (const v1::Event& e : events) *update->add_events() = e;
    if (!events.empty()) cursor->event_id = events.back().id();
    if (static_cast<int64_t>(events.size()) == kMaxEventsInUpdate) {
      // There may be more of them, for the next call, which does not wait then.
      *ended = false;
      return true;
    }
  }
  cursor->version = version;
  return true;
}

absl::StatusOr<std::vector<v1::LogLine>> Coordinator::Logs(const std::string& name, int64_t tail,
                                                           int64_t* sequence, bool* ended,
                                                           const std::string& worker) {
  std::string id;
  {
    MutexLock lock(&mu_);
    if (stopping_)
      return absl::UnavailableError("the coordinator is stopping; ask again when it is back");
    ASSIGN_OR_RETURN(const RunEntry* run, FindRun(name));
    id = run->record.run_id;
    *ended = IsFinal(run->record.state);
  }
  ASSIGN_OR_RETURN(const std::vector<LogRecord> records,
                   store_->LogLines(id, *sequence, *sequence == 0 ? tail : 0));
  std::vector<v1::LogLine> out;
  for (const LogRecord& r : records) {
    *sequence = r.sequence;
    if (worker.empty() || r.line.worker() == worker) out.push_back(r.line);
  }
  return out;
}

}  // namespace tritter
