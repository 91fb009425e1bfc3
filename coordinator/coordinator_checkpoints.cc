// Shares in, committed checkpoints out.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "coordinator/checkpoint_files.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/extension.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

constexpr absl::Duration kCommitRetry = absl::Seconds(2);

bool IsPlainName(const std::string& name) {
  if (name.empty() || name.size() > 255 || name[0] == '.' || name == "manifest.json") return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

bool IsSha256(const std::string& text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

CheckpointManifest ManifestOf(const RunEntry& run, int64_t step) {
  const EpochEntry& epoch = *run.epoch;
  CheckpointManifest m;
  m.run_id = run.record.run_id;
  m.step = step;
  m.epoch = epoch.record.epoch;
  m.attempt = AttemptName(m.epoch);
  m.spec_hash = run.record.spec_hash;
  m.spec_yaml = run.record.spec_yaml;
  m.next_slot = step * run.spec.global_batch;
  for (const auto& [rank, share] : epoch.shares.at(step)) {
    for (const v1::CheckpointFile& f : share.files()) {
      m.files.push_back({f.name(), static_cast<uint64_t>(f.bytes()), f.sha256()});
    }
  }
  std::sort(m.files.begin(), m.files.end(),
            [](const ManifestFile& a, const ManifestFile& b) { return a.name < b.name; });
  return m;
}

}  // namespace

absl::Status Coordinator::CheckFiles(const RunEntry& run, const v1::CommitShareRequest& request) {
  if (request.files_size() == 0 || request.files_size() > 1000) {
    return CheckpointRejectedError("files", absl::StrCat(request.files_size()), "1 to 1000",
                                   "a share names its files");
  }
  const std::unique_ptr<CheckpointStore> store = CheckpointsOf(run);
  std::set<std::string> names;
  for (const auto& [rank, share] : run.epoch->shares.contains(request.step())
                                       ? run.epoch->shares.at(request.step())
                                       : std::map<int32_t, v1::CommitShareRequest>()) {
    if (rank == request.rank()) continue;
    for (const v1::CheckpointFile& f : share.files()) names.insert(f.name());
  }
  for (const v1::CheckpointFile& f : request.files()) {
    if (!IsPlainName(f.name())) {
      return CheckpointRejectedError("files.name", f.name(), "letters, digits, '-', '_', '.'",
                                     "a bad file name");
    }
    if (!names.insert(f.name()).second) {
      return CheckpointRejectedError("files.name", f.name(), "a name of its own",
                                     "two files have one name");
    }
    if (!IsSha256(f.sha256())) {
      return CheckpointRejectedError("files.sha256", f.sha256(), "64 hexadecimal digits",
                                     "a bad hash");
    }
  }
  return Apart([&]() -> absl::Status {
    const CheckpointAttempt attempt{request.step(), request.attempt()};
    for (const v1::CheckpointFile& f : request.files()) {
      absl::StatusOr<uint64_t> size = store->FileBytes(attempt, f.name());
      if (!size.ok() || static_cast<int64_t>(*size) != f.bytes()) {
        return CheckpointRejectedError(
            "files.bytes", size.ok() ? absl::StrCat(*size) : std::string(size.status().message()),
            absl::StrCat(f.bytes()), absl::StrCat(f.name(), " in ", store->location()));
      }
    }
    return absl::OkStatus();
  });
}

absl::Status Coordinator::TakeShare(const Fenced& at, const v1::CommitShareRequest& request) {
  EpochEntry& epoch = *at.epoch;
  if (request.rank() != at.rank) {
    return CheckpointRejectedError("rank", absl::StrCat(request.rank()), absl::StrCat(at.rank),
                                   "another rank's share");
  }
  if (request.attempt() != AttemptName(epoch.record.epoch)) {
    return CheckpointRejectedError("attempt", request.attempt(), AttemptName(epoch.record.epoch),
                                   "another attempt");
  }
  if (!epoch.OrdersCheckpoint(request.step())) {
    return CheckpointRejectedError("step", absl::StrCat(request.step()),
                                   "a step whose checkpoint was ordered",
                                   "no plan of the epoch orders it");
  }
  const auto& shares = epoch.shares[request.step()];
  if (const auto it = shares.find(request.rank()); it != shares.end()) {
    bool same = it->second.files_size() == request.files_size();
    for (int i = 0; same && i < request.files_size(); ++i) {
      same = it->second.files(i).SerializeAsString() == request.files(i).SerializeAsString();
    }
    if (same) return absl::OkStatus();  // a repeat
    return CheckpointRejectedError("files", "other files", "those of the first report",
                                   "a share is reported once");
  }
  RETURN_IF_ERROR(CheckFiles(*at.run, request));
  WriteBatch batch;
  batch.shares = {{request.run_id(), request.epoch(), request.step(), request.rank(), request}};
  RETURN_IF_ERROR(Write(&batch));
  epoch.shares[request.step()][request.rank()] = request;
  return absl::OkStatus();
}

absl::StatusOr<v1::CommitShareResponse> Coordinator::CommitShare(
    const v1::CommitShareRequest& request) {
  v1::CommitShareResponse out;
  out.set_state(v1::CommitShareResponse::WAITING);
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(RunTurn turn, TurnOf(request.worker(), request.run_id()));
  RunEntry& run = runs_.at(request.run_id());
  for (const v1::Checkpoint& c : run.checkpoints) {
    if (c.step() == request.step() && c.epoch() == request.epoch()) {
      out.set_state(v1::CommitShareResponse::COMMITTED);
      return out;
    }
  }
  ASSIGN_OR_RETURN(const Fenced at, Fence(request.worker(), request.run_id(), request.epoch()));
  RETURN_IF_ERROR(TakeShare(at, request));
  ASSIGN_OR_RETURN(const bool committed,
                   CommitIfComplete(&run, &turn, request.epoch(), request.step()));
  if (committed) out.set_state(v1::CommitShareResponse::COMMITTED);
  return out;
}

absl::StatusOr<bool> Coordinator::CommitIfComplete(RunEntry* entry, RunTurn* turn, uint64_t epoch,
                                                   int64_t step) {
  RunEntry& run = *entry;
  if (run.committing || !run.epoch.has_value() || run.epoch->record.epoch != epoch) return false;
  const auto it = run.epoch->shares.find(step);
  if (it == run.epoch->shares.end() || it->second.size() < run.epoch->record.members.size())
    return false;
  CheckpointManifest manifest = ManifestOf(run, step);
  manifest.code_version = kVersion;
  const std::unique_ptr<CheckpointStore> store = CheckpointsOf(run);
  run.committing = true;
  turn->GiveBack();
  absl::StatusOr<v1::Checkpoint> committed = Apart([&]() -> absl::StatusOr<v1::Checkpoint> {
    ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> reader, store->Commit(manifest));
    return DescribeCheckpoint(*reader);
  });
  turn->Take(&mu_);  // runs are never erased
  absl::Status status = committed.status();
  if (status.ok()) status = RecordCommit(&run, *std::move(committed));
  if (!status.ok()) {
    run.committing = false;
    ++stats_.failed_commits;
    run.commit_retry_at = clock_->Monotonic() + kCommitRetry;
    status =
        Annotate(status, absl::StrCat("checkpoint of step ", step, " cannot be committed yet"));
    LogWarning("checkpoint_commit_failed",
               {{"run", run.record.run_id}, {"error", std::string(status.message())}});
    if (run.commit_error != status.message()) {
      run.commit_error = std::string(status.message());
      Touch(&run);
    }
    return status;
  }
  run.committing = false;
  run.retention_due = true;
  if (!run.epoch.has_value()) {  // it waited for this; else the next tick comes soon enough
    kicked_ = true;
    wake_.NotifyAll();
  }
  return true;
}

void Coordinator::StartRetention() {
  std::vector<std::string> due;
  {
    MutexLock lock(&mu_);
    if (retaining_ || stopping_) return;
    for (auto& [id, run] : runs_) {
      // Between epochs its checkpoints are looked at for the next one.
      const bool resumes = NeedsWorkers(run.record.state) && !run.epoch.has_value();
      if (!run.retention_due || resumes || run.choosing || run.committing) continue;
      run.retention_due = false;
      run.retaining = true;
      due.push_back(id);
    }
    if (due.empty()) return;
    retaining_ = true;
  }
  auto retain = [this, due] {
    for (const std::string& id : due) {
      DropOlder(id);
      MutexLock lock(&mu_);
      runs_.at(id).retaining = false;
    }
    MutexLock lock(&mu_);
    retaining_ = false;
    kicked_ = true;
    wake_.NotifyAll();
  };
  if (!options_.background) return retain();
  if (retention_thread_.joinable()) retention_thread_.join();  // the one before has ended
  retention_thread_ = std::thread(std::move(retain));
}

absl::StatusOr<std::vector<int64_t>> Coordinator::ToDrop(
    const std::string& run_id, const std::vector<v1::Checkpoint>& checkpoints,
    const RetentionRule& rule) {
  std::vector<RetainedCheckpoint> retained;
  for (const v1::Checkpoint& c : checkpoints) {
    ASSIGN_OR_RETURN(const std::vector<v1::EvaluationPoint> points,
                     store_->Evaluations(run_id, c.step(), c.step(), kRecentMetrics));
    double nats = 0, tokens = 0;
    for (const v1::EvaluationPoint& p : points) {
      if (p.weights() == "raw") continue;  // the averaged ones are what is exported
      if (p.step() != c.step()) continue;  // of step 0 the store gives all that follow
      nats += p.loss() * static_cast<double>(p.tokens());
      tokens += static_cast<double>(p.tokens());
    }
    RetainedCheckpoint& r = retained.emplace_back();
    r.step = c.step();
    if (tokens > 0) r.held_out_loss = nats / tokens;
  }
  return DecideRetention(retained, rule, checkpoints.empty() ? -1 : checkpoints.back().step());
}

void Coordinator::DropOlder(const std::string& id) {
  std::unique_ptr<CheckpointStore> store;
  std::vector<v1::Checkpoint> checkpoints;
  RetentionRule rule;
  {
    MutexLock lock(&mu_);
    const RunEntry& run = runs_.at(id);
    store = CheckpointsOf(run);
    checkpoints = run.checkpoints;
    rule = {run.spec.checkpoint_keep, run.spec.checkpoint_keep_every, run.spec.checkpoint_keep_best,
            LastExtensibleStep(run.spec)};
  }
  const absl::StatusOr<std::vector<int64_t>> drop = ToDrop(id, checkpoints, rule);
  if (!drop.ok()) {
    LogWarning("retention_not_decided",
               {{"run", id}, {"error", std::string(drop.status().message())}});
    return;  // the next commit finds the same ones to drop
  }
  if (drop->empty()) return;
  // Workers said what the hashes are. Before a good checkpoint goes, the newest is read.
  const v1::Checkpoint& newest = checkpoints.back();
  const absl::Status whole = VerifyRecordedCheckpoint(store.get(), newest);
  WriteBatch batch;
  {
    MutexLock lock(&mu_);
    RunEntry& run = runs_.at(id);
    const RunTurn turn = TurnOf(&run);
    if (run.checkpoints.empty() || run.checkpoints.back().step() != newest.step()) {
      run.retention_due = true;  // there is a newer one by now
      return;
    }
    std::vector<v1::Checkpoint> kept = run.checkpoints;
    if (whole.ok()) {
      for (const int64_t step : *drop) {
        batch.dropped_checkpoints.push_back({id, step});
        std::erase_if(kept, [&](const v1::Checkpoint& c) { return c.step() == step; });
      }
    } else if (!absl::IsDataLoss(whole) && !absl::IsNotFound(whole)) {
      LogWarning("checkpoint_not_read", {{"run", id}, {"error", std::string(whole.message())}});
      return;  // the next commit finds the same ones to drop
    } else {
      batch.events = {NewEvent(
          id, kEventCheckpointDamaged,
          absl::StrCat("checkpoint of step ", newest.step(),
                       " is not what was reported, older ones are kept: ", whole.message()))};
    }
    if (absl::Status s = Write(&batch); !s.ok()) {
      // The next commit finds the same ones to drop.
      LogWarning("retention_not_stored", {{"run", id}, {"error", std::string(s.message())}});
      return;
    }
    run.checkpoints = std::move(kept);
    Touch(&run);
  }
  for (const CheckpointKey& dropped : batch.dropped_checkpoints) {
    if (absl::Status s = store->Remove(dropped.step); !s.ok()) {
      LogWarning("checkpoint_not_removed",
                 {{"run", id}, {"step", dropped.step}, {"error", std::string(s.message())}});
    }
  }
}

absl::Status Coordinator::RecordCommit(RunEntry* run, v1::Checkpoint checkpoint) {
  const std::string& id = run->record.run_id;
  checkpoint.set_committed_ms(NowMs());
  WriteBatch batch;
  batch.checkpoints = {{id, checkpoint}};
  batch.events = {NewEvent(
      id, kEventCheckpointCommitted,
      absl::StrCat("checkpoint of step ", checkpoint.step(), ", ", Bytes(checkpoint.bytes())))};
  RETURN_IF_ERROR(Write(&batch));
  run->checkpoints.push_back(checkpoint);
  run->commit_error.clear();
  run->resume.reset();
  ++stats_.commits;
  const auto kept_steps = run->uncommitted_seconds.upper_bound(checkpoint.step());
  for (auto it = run->uncommitted_seconds.begin(); it != kept_steps; ++it)
    run->productive_seconds += it->second;
  run->uncommitted_seconds.erase(run->uncommitted_seconds.begin(), kept_steps);
  if (run->epoch.has_value()) {
    run->epoch->progress = true;
    run->epoch->shares.erase(checkpoint.step());
  }
  Touch(run);
  return absl::OkStatus();
}

void Coordinator::RetryCommits() {
  MutexLock lock(&mu_);
  struct Due {
    std::string run_id;
    uint64_t epoch;
    int64_t step;
  };
  std::vector<Due> due;
  const absl::Duration now = clock_->Monotonic();
  for (auto& [id, run] : runs_) {
    if (!run.epoch.has_value() || run.committing || now < run.commit_retry_at) continue;
    for (const auto& [step, shares] : run.epoch->shares) {
      if (shares.size() == run.epoch->record.members.size())
        due.push_back({id, run.epoch->record.epoch, step});
    }
  }
  for (const Due& d : due) {
    RunEntry& run = runs_.at(d.run_id);
    RunTurn turn = TurnOf(&run);
    CommitIfComplete(&run, &turn, d.epoch, d.step).status().IgnoreError();  // logged there
  }
}

}  // namespace tritter
