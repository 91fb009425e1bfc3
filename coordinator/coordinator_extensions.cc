// A run that goes on from a checkpoint of another one: it gets a copy of its own.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "coordinator/checkpoint_files.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/extension.h"
#include "coordinator/errors.h"
#include "model/folder_checkpoint_store.h"

namespace tritter {

absl::StatusOr<Coordinator::Extended> Coordinator::FindExtended(const RunSpec& spec) {
  Extended out;
  RunSpec base;
  {
    MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(const RunEntry* run, FindRun(spec.extend_run));
    if (!run->spec_error.empty()) {
      return TypedError(absl::StatusCode::kFailedPrecondition, v1::ErrorDetail::WRONG_STATE,
                        absl::StrCat("cannot extend run ", spec.extend_run, ": ", run->spec_error),
                        "");
    }
    base = run->spec;
    out.run_id = run->record.run_id;
    out.run_dir = run->record.run_dir;
    out.checkpoints = run->checkpoints;
  }
  std::vector<int64_t> committed;
  for (const v1::Checkpoint& c : out.checkpoints) committed.push_back(c.step());
  absl::StatusOr<std::vector<int64_t>> steps = DecideExtension(base, spec, committed);
  if (!steps.ok()) {
    return TypedError(steps.status().code(), v1::ErrorDetail::INVALID_RUN_SPEC,
                      steps.status().message(), "");
  }
  // Newest first, those that may be extended alone.
  std::vector<v1::Checkpoint> candidates;
  for (const int64_t step : *steps) {
    for (const v1::Checkpoint& c : out.checkpoints) {
      if (c.step() == step) candidates.push_back(c);
    }
  }
  out.checkpoints = std::move(candidates);
  return out;
}

absl::StatusOr<v1::Checkpoint> Coordinator::StartExtension(const RunRecord& record, Prepared* run) {
  ASSIGN_OR_RETURN(const Extended extended, FindExtended(run->spec));
  const std::unique_ptr<CheckpointStore> from = CheckpointsOfRun(env_, extended.run_dir),
                                         to = CheckpointsOfRun(env_, record.run_dir);
  // What the data were: a resume compares with it.
  const std::string data = JoinPath(extended.run_dir, "data.json");
  if (env_->Exists(data)) {
    ASSIGN_OR_RETURN(const std::string text, env_->ReadFile(data));
    RETURN_IF_ERROR(WriteFileAtomically(env_, JoinPath(record.run_dir, "data.json"), text));
  }
  const auto start_from = [&](const v1::Checkpoint& candidate) -> absl::StatusOr<v1::Checkpoint> {
    RETURN_IF_ERROR(VerifyRecordedCheckpoint(from.get(), candidate));
    ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> there, from->Open(candidate.step()));
    run->spec.extend_run = extended.run_id;
    run->spec.extend_step = candidate.step();
    run->yaml = CanonicalYaml(run->spec);
    run->hash = Sha256Hex(run->yaml);
    CheckpointManifest manifest = there->manifest();
    manifest.run_id = record.run_id;
    manifest.epoch = 0;  // before the run's first
    manifest.attempt = AttemptName(0);
    manifest.spec_yaml = run->yaml;
    manifest.spec_hash = run->hash;
    return CopyCheckpoint(*there, to.get(), manifest);
  };
  absl::Status damaged;
  for (const v1::Checkpoint& candidate : extended.checkpoints) {
    absl::StatusOr<v1::Checkpoint> start = start_from(candidate);
    if (start.ok()) {
      start->set_committed_ms(NowMs());
      return start;
    }
    // Retention may have taken it meanwhile.
    if (!absl::IsDataLoss(start.status()) && !absl::IsNotFound(start.status()))
      return start.status();
    damaged.Update(start.status());
  }
  return Annotate(damaged, absl::StrCat("extend.run: no checkpoint of run ", extended.run_id,
                                        " that could be extended is whole"));
}

}  // namespace tritter
