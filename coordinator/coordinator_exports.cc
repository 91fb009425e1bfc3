// Completed runs become deployable files, in the background.
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {
constexpr absl::Duration kStoreRetry = absl::Seconds(5);
}  // namespace

void Coordinator::StartExports() {
  std::string run_id;
  {
    MutexLock lock(&mu_);
    for (auto& [id, run] : runs_) {
      if (run.exporting) return;  // one at a time
      if (run.record.state == v1::RUN_STATE_EXPORTING && run_id.empty() && run.spec_error.empty() &&
          clock_->Monotonic() >= run.export_retry_at)
        run_id = id;
    }
    if (run_id.empty() || stopping_) return;
    runs_.at(run_id).exporting = true;
  }
  if (export_thread_.joinable()) export_thread_.join();  // the one before has ended
  if (options_.background) {
    export_thread_ = std::thread([this, run_id] { ExportRun(run_id); });
  } else {
    ExportRun(run_id);
  }
}

absl::StatusOr<v1::Artifact> Coordinator::ExportStep(CheckpointStore* store, int64_t step,
                                                     const std::string& path,
                                                     const ExportOptions& options) {
  RETURN_IF_ERROR(env_->CreateDirs(Dirname(path)));
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> checkpoint, store->Open(step));
  return exporter_(*checkpoint, path, options);
}

// Writes the file anew when a coordinator died during it: the write is atomic.
void Coordinator::ExportRun(const std::string& run_id) {
  std::unique_ptr<CheckpointStore> store;
  int64_t step = 0;
  std::string path;
  ExportOptions options;
  std::optional<absl::StatusOr<v1::Artifact>> done;  // earlier, but it could not be stored
  {
    MutexLock lock(&mu_);
    const RunEntry& run = runs_.at(run_id);
    const RunEntry& of = IsTraining(run.spec) ? run : runs_.at(run.spec.of);
    options.format = run.spec.export_format;
    options.head = run.spec.export_head;
    path =
        JoinPath(run.record.run_dir, absl::StrCat("export/", run.record.name, ".", options.format));
    store = CheckpointsOf(of);
    step = run.spec.export_step > 0 ? run.spec.export_step : of.committed_step();
    done = run.exported;
  }
  absl::StatusOr<v1::Artifact> artifact =
      absl::FailedPreconditionError("the run has no checkpoint");
  if (done.has_value()) {
    artifact = *std::move(done);
  } else if (step > 0) {
    artifact = ExportStep(store.get(), step, path, options);
  }
  MutexLock lock(&mu_);
  RunEntry& run = runs_.at(run_id);
  const RunTurn turn = TurnOf(&run);
  run.exporting = false;
  if (run.record.state != v1::RUN_STATE_EXPORTING) return;  // killed meanwhile
  RunRecord next = run.record;
  next.finished_ms = NowMs();
  WriteBatch batch;
  std::vector<v1::Checkpoint> kept = run.checkpoints;
  if (!IsTraining(run.spec)) {
    next.state = artifact.ok() ? v1::RUN_STATE_COMPLETED : v1::RUN_STATE_FAILED;
    next.reason = artifact.ok()
                      ? absl::StrCat("exported step ", step, " of run ", run.spec.of, " as ",
                                     artifact->path())
                      : absl::StrCat("the export of step ", step, " of run ", run.spec.of,
                                     " failed: ", std::string(artifact.status().message()),
                                     "; when that is mended `tritterctl resume` tries it again");
    if (artifact.ok()) batch.artifacts = {{run_id, *artifact}};
  } else if (artifact.ok()) {
    next.state = v1::RUN_STATE_COMPLETED;
    next.reason = absl::StrCat("trained ", next.total_steps, " steps; exported ", artifact->path());
    batch.artifacts = {{run_id, *artifact}};
  } else {
    next.state = v1::RUN_STATE_FAILED;
    const bool damaged = absl::IsDataLoss(artifact.status()) || absl::IsNotFound(artifact.status());
    std::string advice = "`tritterctl resume` exports it again";
    if (damaged && run.checkpoints.size() > 1) {
      // Then resuming trains again from the one before.
      batch.dropped_checkpoints = {{run_id, run.checkpoints.back().step()}};
      kept.pop_back();
      advice = absl::StrCat(
          "its last checkpoint is damaged; `tritterctl resume` trains on from the "
          "one of step ",
          kept.back().step());
    } else if (damaged) {
      advice = "its only checkpoint is damaged; put it back and resume, or submit the run again";
    }
    next.reason = absl::StrCat("trained ", next.total_steps, " steps, but the export failed: ",
                               std::string(artifact.status().message()), "; ", advice);
  }
  batch.runs = {next};
  AddReport(run, next, artifact.ok() ? &*artifact : nullptr, &batch);
  batch.events.push_back(
      NewEvent(run_id, artifact.ok() ? kEventRunCompleted : kEventRunFailed, next.reason));
  if (absl::Status s = Write(&batch); !s.ok()) {
    LogError("export_not_stored", {{"run", run_id}, {"error", std::string(s.message())}});
    // Still EXPORTING. What was written is kept, only the record is tried again.
    run.record.reason =
        absl::StrCat(next.reason, "; this cannot be stored yet (", std::string(s.message()),
                     "): free some space below ", options_.data_dir, ", it is tried again every ",
                     absl::FormatDuration(kStoreRetry));
    run.wait_cause = WaitCause::kExportNotStored;
    run.exported = std::move(artifact);
    run.export_retry_at = clock_->Monotonic() + kStoreRetry;
    Touch(&run);
    return;
  }
  run.exported.reset();
  run.record = std::move(next);
  run.checkpoints = std::move(kept);
  if (artifact.ok()) run.artifacts = {*std::move(artifact)};
  Touch(&run);
}

}  // namespace tritter
