// A run that begins with a checkpoint of another one, extended or cloned: it gets a copy of its
// own, or a checkpoint of step 0 with the weights of that one.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "coordinator/checkpoint_files.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/clone.h"
#include "coordinator/decide/extension.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/errors.h"
#include "model/folder_checkpoint_store.h"
#include "model/start_checkpoint.h"

namespace tritter {

absl::StatusOr<Coordinator::Origin> Coordinator::FindOrigin(const RunSpec& spec) {
  const bool extends = !spec.extend_run.empty();
  const std::string& name = extends ? spec.extend_run : spec.clone_run;
  Origin out;
  RunSpec named = spec;  // errors call the run by name and id
  {
    MutexLock lock(&mu_);
    // A clone may be of any; what is extended goes on as another.
    ASSIGN_OR_RETURN(const RunEntry* run, extends ? FindRunToChange(name) : FindRun(name));
    if (!run->spec_error.empty()) {
      return TypedError(
          absl::StatusCode::kFailedPrecondition, v1::ErrorDetail::WRONG_STATE,
          absl::StrCat("cannot ", extends ? "extend" : "clone", " run ",
                       NamedRun(run->record.name, run->record.run_id), ": ", run->spec_error),
          "");
    }
    (extends ? named.extend_run : named.clone_run) = NamedRun(run->record.name, run->record.run_id);
    out.spec = run->spec;
    out.run_id = run->record.run_id;
    out.run_dir = run->record.run_dir;
    out.checkpoints = run->checkpoints;
  }
  std::vector<int64_t> committed;
  for (const v1::Checkpoint& c : out.checkpoints) committed.push_back(c.step());
  absl::StatusOr<std::vector<int64_t>> steps = extends ? DecideExtension(out.spec, named, committed)
                                                       : DecideClone(out.spec, named, committed);
  if (!steps.ok()) {
    return TypedError(steps.status().code(), v1::ErrorDetail::INVALID_RUN_SPEC,
                      steps.status().message(), "");
  }
  // Newest first, those with which it may begin alone.
  std::vector<v1::Checkpoint> candidates;
  for (const int64_t step : *steps) {
    for (const v1::Checkpoint& c : out.checkpoints) {
      if (c.step() == step) candidates.push_back(c);
    }
  }
  out.checkpoints = std::move(candidates);
  return out;
}

// Weights mean nothing to tokens of another tokenizer. Data that is gone says nothing.
absl::Status Coordinator::CheckTokenizer(const RunSpec& spec, const Origin& origin,
                                         const std::vector<SourceFacts>& sources) {
  for (const SourceFacts& there : catalog_->Inspect(origin.spec)) {
    for (const SourceFacts& here : sources) {
      if (!there.status.ok() || !here.status.ok() || there.tokenizer_hash == here.tokenizer_hash)
        continue;
      return TypedError(
          absl::StatusCode::kInvalidArgument, v1::ErrorDetail::INVALID_RUN_SPEC,
          absl::StrCat("clone.run: run ", spec.clone_run, " was trained on tokens of tokenizer ",
                       there.tokenizer_hash.substr(0, 12), ", source ", here.name, " was made by ",
                       here.tokenizer_hash.substr(0, 12),
                       "; curate the text with the tokenizer of that run"),
          "");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Checkpoint> Coordinator::CopyOrigin(const RunRecord& record,
                                                       const std::vector<SourceFacts>& sources,
                                                       Prepared* run) {
  ASSIGN_OR_RETURN(const Origin origin, FindOrigin(run->spec));
  const bool extends = !run->spec.extend_run.empty();
  if (!extends) RETURN_IF_ERROR(CheckTokenizer(run->spec, origin, sources));
  const std::unique_ptr<CheckpointStore> from = CheckpointsOfRun(env_, origin.run_dir),
                                         to = CheckpointsOfRun(env_, record.run_dir);
  // What the data were: a resume compares with it. A clone may have other data.
  const std::string data = JoinPath(origin.run_dir, "data.json");
  if (extends && env_->Exists(data)) {
    ASSIGN_OR_RETURN(const std::string text, env_->ReadFile(data));
    RETURN_IF_ERROR(WriteFileAtomically(env_, JoinPath(record.run_dir, "data.json"), text));
  }
  const auto start_with = [&](const v1::Checkpoint& candidate) -> absl::StatusOr<v1::Checkpoint> {
    RETURN_IF_ERROR(VerifyRecordedCheckpoint(from.get(), candidate));
    ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> there, from->Open(candidate.step()));
    (extends ? run->spec.extend_run : run->spec.clone_run) = origin.run_id;
    (extends ? run->spec.extend_step : run->spec.clone_step) = candidate.step();
    run->yaml = CanonicalYaml(run->spec);
    run->hash = Sha256Hex(run->yaml);
    CheckpointManifest manifest = there->manifest();
    manifest.run_id = record.run_id;
    manifest.epoch = 0;  // before the run's first
    manifest.attempt = AttemptName(0);
    manifest.spec_yaml = run->yaml;
    manifest.spec_hash = run->hash;
    if (run->spec.clone_weights_only) {
      manifest.code_version = kVersion;
      ASSIGN_OR_RETURN(const std::unique_ptr<CheckpointReader> start,
                       WriteStartCheckpoint(*there, run->spec.clone_weights == "averaged",
                                            run->spec, std::move(manifest), to.get()));
      return DescribeCheckpoint(*start);
    }
    manifest.next_slot = manifest.step * run->spec.global_batch;
    return CopyCheckpoint(*there, to.get(), manifest);
  };
  absl::Status damaged;
  for (const v1::Checkpoint& candidate : origin.checkpoints) {
    absl::StatusOr<v1::Checkpoint> start = start_with(candidate);
    if (start.ok()) {
      start->set_committed_ms(NowMs());
      return start;
    }
    // Retention may have taken it meanwhile.
    if (!absl::IsDataLoss(start.status()) && !absl::IsNotFound(start.status()))
      return start.status();
    damaged.Update(start.status());
  }
  return Annotate(damaged, absl::StrCat(extends ? "extend" : "clone", ".run: no checkpoint of run ",
                                        origin.run_id, " that could be ",
                                        extends ? "extended" : "cloned", " is whole"));
}

}  // namespace tritter
