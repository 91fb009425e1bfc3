#include "worker/progress_reporter.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"

namespace tritter {
namespace {

template <typename T>
int64_t KeepNewest(std::vector<T>* v, size_t max) {
  if (v->size() <= max) return 0;
  const size_t excess = v->size() - max;
  v->erase(v->begin(), v->begin() + static_cast<ptrdiff_t>(excess));
  return static_cast<int64_t>(excess);
}

// Moves the oldest `max` of `from` to `to`.
template <typename T>
void MoveOldest(std::vector<T>* from, size_t max, std::vector<T>* to) {
  const auto end = from->begin() + static_cast<ptrdiff_t>(std::min(max, from->size()));
  to->assign(std::make_move_iterator(from->begin()), std::make_move_iterator(end));
  from->erase(from->begin(), end);
}

// Both lists are in the order of their steps.
int64_t OldestStep(const Progress& progress) {
  int64_t step = std::numeric_limits<int64_t>::max();
  if (!progress.steps.empty()) step = progress.steps.front().step;
  if (!progress.evaluations.empty()) step = std::min(step, progress.evaluations.front().step);
  return step;
}

// The coordinator takes reports of bounded size; these stay well below its limits.
constexpr size_t kBatchSteps = 2000, kBatchEvaluations = 200, kBatchLines = 200;
constexpr size_t kMaxLineBytes = 2000, kMaxFailureBytes = 8000;

Progress TakeBatch(Progress* pending) {
  Progress batch;
  MoveOldest(&pending->steps, kBatchSteps, &batch.steps);
  MoveOldest(&pending->evaluations, kBatchEvaluations, &batch.evaluations);
  MoveOldest(&pending->log_lines, kBatchLines, &batch.log_lines);
  return batch;
}

}  // namespace

ProgressReporter::ProgressReporter(Options options)
    : options_(std::move(options)), thread_([this] { Loop(); }) {}

ProgressReporter::~ProgressReporter() {
  stopping_.Cancel(absl::CancelledError("the epoch has ended"));
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void ProgressReporter::AddStep(StepReport report) {
  MutexLock lock(&mu_);
  step_ = report.step;
  if (!options_.send_metrics) return;
  pending_.steps.push_back(std::move(report));
  dropped_ += KeepNewest(&pending_.steps, options_.max_steps);
}

void ProgressReporter::AddEvaluation(EvaluationReport report) {
  MutexLock lock(&mu_);
  if (!options_.send_metrics) return;
  pending_.evaluations.push_back(std::move(report));
  dropped_ += KeepNewest(&pending_.evaluations, options_.max_steps);
}

void ProgressReporter::AddLogLine(LogReport line) {
  if (line.line.size() > kMaxLineBytes) line.line.resize(kMaxLineBytes);
  MutexLock lock(&mu_);
  pending_.log_lines.push_back(std::move(line));
  dropped_ += KeepNewest(&pending_.log_lines, options_.max_log_lines);
}

bool ProgressReporter::Fail(const Failure& failure, absl::Duration limit) {
  // What led to it is there before, where that is possible: it must not wait behind reports which a
  // coordinator with a full disk does not take.
  Flush(limit / 2);
  Progress report;
  report.failure = failure.text.substr(0, kMaxFailureBytes);
  report.failure_detail = failure.detail.substr(0, kMaxFailureBytes);
  report.failure_is_permanent = failure.permanent;
  report.spec_unreadable = failure.spec_unreadable;
  report.request_id = absl::StrCat(options_.request_prefix, "-failure");
  {
    MutexLock lock(&mu_);
    report.step = step_;
  }
  Clock* clock = Clock::Real();  // a limit on a wait, not a decision
  const absl::Duration until = clock->Monotonic() + limit / 2;
  for (absl::Duration pause = options_.backoff.initial;; pause *= 2) {
    const absl::Status status = options_.link->Report(options_.id, report);
    if (IsStaleEpoch(status) && options_.on_stale) options_.on_stale(status);
    if (!IsRetryable(status)) return status.ok();
    if (clock->Monotonic() + pause > until || stopping_.Sleep(pause)) return false;
  }
}

int64_t ProgressReporter::OldestUndeliveredLocked() const {
  const int64_t waiting = OldestStep(pending_);
  return sending_ ? std::min(waiting, sending_from_) : waiting;
}

absl::Status ProgressReporter::AwaitDelivery(int64_t step) {
  MutexLock lock(&mu_);
  urgent_ = true;
  changed_.NotifyAll();
  while (OldestUndeliveredLocked() <= step) {
    if (stop_ || options_.cancellation->cancelled())
      return absl::AbortedError(options_.cancellation->cause().message());
    changed_.WaitFor(&mu_, absl::Milliseconds(50));  // cancellation does not wake us
  }
  return absl::OkStatus();
}

bool ProgressReporter::Flush(absl::Duration limit) {
  Clock* clock = Clock::Real();  // a limit on a wait, not a decision
  const absl::Duration until = clock->Monotonic() + limit;
  const bool ended = options_.cancellation->cancelled();  // what is left of an epoch that was ended
  MutexLock lock(&mu_);
  urgent_ = true;
  changed_.NotifyAll();
  while (!DeliveredLocked() && !stop_ && (ended || !options_.cancellation->cancelled())) {
    const absl::Duration left = until - clock->Monotonic();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitFor(&mu_,
                     std::min(left, absl::Milliseconds(50)));  // cancellation does not wake us
  }
  return DeliveredLocked();
}

void ProgressReporter::Loop() {
  for (int64_t sequence = 1;; ++sequence) {
    Progress batch;
    {
      MutexLock lock(&mu_);
      if (!stop_ && !urgent_) changed_.WaitFor(&mu_, options_.interval);
      while (!stop_ && pending_.empty()) {
        urgent_ = false;
        changed_.NotifyAll();
        changed_.WaitFor(&mu_, options_.interval);
      }
      if (stop_) return;
      batch = TakeBatch(&pending_);
      batch.step = step_;
      sending_ = true;
      sending_from_ = OldestStep(batch);
      if (dropped_ > 0) {
        batch.log_lines.push_back(
            {absl::UnixEpoch(), absl::StrCat("progress_dropped count=", dropped_)});
        dropped_ = 0;
      }
    }
    batch.request_id = absl::StrCat(options_.request_prefix, "-", sequence);
    Send(batch);
    MutexLock lock(&mu_);
    sending_ = false;
    changed_.NotifyAll();
  }
}

void ProgressReporter::Send(const Progress& batch) {
  int64_t tries = 0;
  const absl::Status status = CallUntilAnswered(
      stopping_, options_.backoff, [&] { return options_.link->Report(options_.id, batch); },
      [&](const absl::Status& refused) {
        if (++tries % 20 != 0) return;  // a coordinator that starts again is no news
        LogWarning(
            "report_not_taken",
            {{"request", batch.request_id}, {"tries", tries}, {"status", refused.ToString()}});
      });
  if (status.ok() || absl::IsAborted(status)) return;
  if (IsStaleEpoch(status)) {
    if (options_.on_stale) options_.on_stale(status);
    return;
  }
  LogWarning("report_refused", {{"request", batch.request_id},
                                {"steps", batch.steps.size()},
                                {"status", status.ToString()}});
}

}  // namespace tritter
