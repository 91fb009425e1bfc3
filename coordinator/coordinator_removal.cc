// What goes for good: runs that people delete, and history that has grown old.
#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/deletion.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

// How often a folder is tried again that fills up while it is removed.
constexpr int kRemovals = 5;
constexpr absl::Duration kRemoveAgain = absl::Milliseconds(200);
constexpr char kDelete[] = "delete";  // request_hash of its key
constexpr absl::Duration kKeepHouseEvery = absl::Minutes(1);
constexpr int64_t kRowsAtOnce = 10000;  // tens of milliseconds

std::string Named(const RunRecord& run) { return NamedRun(run.name, run.run_id); }

absl::Status Refused(const std::string& run, const std::string& why, const std::string& hint) {
  return TypedError(absl::StatusCode::kFailedPrecondition, v1::ErrorDetail::WRONG_STATE,
                    absl::StrCat("cannot delete run ", run, ": ", why), hint);
}

}  // namespace

absl::Status Coordinator::CheckDeletable(const RunEntry& run) {
  const std::string& id = run.record.run_id;
  DeletionFacts facts;
  facts.state = run.record.state;
  facts.busy = run.committing || run.retaining || run.choosing || run.exporting || run.deploying;
  for (const auto& [other, entry] : runs_) {
    if (other == id || IsFinal(entry.record.state)) continue;
    if (!entry.spec_error.empty()) facts.unreadable.push_back(Named(entry.record));
    // One that has begun waits for nobody any more.
    const bool waits = entry.record.started_ms == 0 && absl::c_linear_search(entry.spec.after, id);
    if (entry.spec.of == id || waits) facts.dependents.push_back(Named(entry.record));
  }
  if (absl::c_linear_search(submitting_needs_, id))
    facts.dependents.push_back("a run that is being submitted");
  // One in the middle of a checkpoint goes on for seconds after the run was killed.
  for (const auto& [name, worker] : workers_.all()) {
    if (!worker.lost && worker.last.run_id() == id) facts.leaving.push_back(name);
  }
  const DeletionVerdict verdict = DecideDeletion(id, facts);
  if (!verdict.obstacle.empty()) return Refused(Named(run.record), verdict.obstacle, verdict.hint);
  // Only what this program has made for one run goes as a whole.
  if (Basename(run.record.run_dir) == id) return absl::OkStatus();
  return Refused(Named(run.record),
                 absl::StrCat("its folder ", run.record.run_dir, " does not have its identifier ",
                              "as name, and may hold what is not of this run"),
                 "look into the store, and restore a backup if it is damaged");
}

absl::Status Coordinator::RemoveFolder(const RunRecord& run) {
  absl::Status status = env_->RemoveTree(run.run_dir);
  // Whoever is about to write a file there ends within moments, or fails when it finds no folder.
  const auto disturbed = [&] {
    return absl::IsFailedPrecondition(status) || absl::IsNotFound(status);
  };
  for (int i = 0; i < kRemovals && disturbed(); ++i) {
    clock_->Sleep(kRemoveAgain);
    status = env_->RemoveTree(run.run_dir);
  }
  if (!disturbed()) return Annotate(status, absl::StrCat("run ", Named(run), " is not deleted"));
  std::string file;
  std::string folder = run.run_dir;
  for (;;) {  // the first that has come
    const absl::StatusOr<std::vector<std::string>> names = env_->ListDir(folder);
    if (!names.ok() || names->empty()) break;
    folder = file = JoinPath(folder, names->front());
  }
  return Refused(
      Named(run),
      absl::StrCat("something still writes into its folder",
                   file.empty() ? "" : absl::StrCat(" (", file, ")"),
                   ": a worker that was lost, and ends a checkpoint, or another program"),
      absl::StrCat("end that one, or try again in a moment: `tritterctl delete ", run.run_id, "`"));
}

absl::StatusOr<v1::DeleteRunResponse> Coordinator::Delete(const std::string& name,
                                                          const std::string& request_id) {
  RETURN_IF_ERROR(CheckRequestId(request_id));
  v1::DeleteRunResponse out;
  MutexLock lock(&mu_);
  const std::string key = ChangeKey(request_id);
  // Whether `out` has the answer that an earlier request of this id got.
  const auto answered = [&]() REQUIRES(mu_) -> absl::StatusOr<bool> {
    if (request_id.empty()) return false;
    ASSIGN_OR_RETURN(const std::optional<IdempotencyRecord> known,
                     Apart([&] { return store_->FindKey(key); }));
    if (!known.has_value()) return false;
    const bool same = name == known->run_id || !runs_.contains(name);  // else it was a name
    if (known->request_hash != kDelete || !same)
      return RequestIdTaken(request_id, kDelete, name, *known);
    out.set_run_id(known->run_id);
    if (const auto it = runs_.find(known->run_id); it != runs_.end())
      out.set_name(it->second.record.name);
    return true;
  };
  ASSIGN_OR_RETURN(const bool repeated, answered());
  if (repeated) return out;
  // What is gone by now may have been deleted by this very request, said twice.
  const auto gone = [&](const absl::Status& why)
                        REQUIRES(mu_) -> absl::StatusOr<v1::DeleteRunResponse> {
    ASSIGN_OR_RETURN(const bool by_this, answered());
    if (by_this) return out;
    return why;
  };
  const absl::StatusOr<RunEntry*> found = FindRunToChange(name);
  if (!found.ok()) return gone(found.status());
  RunEntry* const run = *found;
  const RunTurn turn = TurnOf(run);
  if (run->deleted) return gone(UnknownRunError(name));
  RETURN_IF_ERROR(CheckDeletable(*run));
  run->deleting = true;
  const absl::Cleanup over = [run] { run->deleting = false; };
  const RunRecord record = run->record;
  int64_t bytes = 0;
  for (const v1::Checkpoint& c : run->checkpoints) bytes += c.bytes();
  // Files first: a run whose files are left behind could not be named any more. Cut off after this
  // it is still listed, and is deleted again.
  // Durably so before the store forgets it: no power loss may bring them back.
  const auto remove = [&]() -> absl::Status {
    RETURN_IF_ERROR(RemoveFolder(record));
    const absl::Status synced = env_->SyncDir(Dirname(record.run_dir));
    return absl::IsNotFound(synced) ? absl::OkStatus() : synced;  // a store without its files
  };
  RETURN_IF_ERROR(Apart(remove));
  WriteBatch batch;
  batch.deleted_runs = {record.run_id};
  if (!request_id.empty()) batch.keys = {{key, kDelete, record.run_id, NowMs()}};
  batch.events = {NewEvent(
      "", kEventRunDeleted,
      absl::StrCat("run ", Named(record), ", ", StateName(record.state), ", was deleted with ",
                   Count(std::ssize(run->checkpoints), "checkpoint"), " of ", Bytes(bytes), " in ",
                   record.run_dir))};
  RETURN_IF_ERROR(Write(&batch));
  // Others may be on their way to it: the entry stays, with nothing in it.
  run->deleted = true;
  run->retention_due = false;
  run->checkpoints.clear();
  run->artifacts.clear();
  run->recent_metrics.clear();
  run->recent_evaluations.clear();
  run->last_evaluation.clear();
  run->last_failure.reset();
  run->record.spec_yaml.clear();
  run->Shrink();
  run->spec = {};
  Touch(run);
  out.set_run_id(record.run_id);
  out.set_name(record.name);
  return out;
}

absl::StatusOr<v1::Run> Coordinator::CheckDeletion(const std::string& name) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunEntry* run, FindRunToChange(name));
  RETURN_IF_ERROR(CheckDeletable(*run));
  return DescribeRun(*run);
}

void Coordinator::KeepHouse() {
  MutexLock lock(&mu_);
  const absl::Duration now = clock_->Monotonic();
  if (stopping_ || now < keep_house_at_) return;
  keep_house_at_ = now + kKeepHouseEvery;
  const int64_t watched_ms = NowMs() - absl::ToInt64Milliseconds(kKeepHouseEvery);
  for (auto& [id, run] : runs_) {  // who watches has seen its last steps by then
    if (run.record.finished_ms < watched_ms) run.Shrink();
  }
  Prune prune;
  prune.keep_events = std::max<int64_t>(0, options_.keep_events);
  if (options_.keep_keys != absl::InfiniteDuration())
    prune.keys_before_ms = NowMs() - absl::ToInt64Milliseconds(options_.keep_keys);
  prune.rows = kRowsAtOnce;
  if (prune.keep_events > 0 || prune.keys_before_ms > 0) {
    WriteBatch batch;
    batch.prunes = {prune};
    if (absl::Status s = Write(&batch); !s.ok())
      LogWarning("history_not_pruned", {{"error", std::string(s.message())}});
  }
  const absl::StatusOr<int64_t> bytes = Apart([&] { return store_->Bytes(); });
  stats_.store_bytes = bytes.value_or(0);
}

}  // namespace tritter
