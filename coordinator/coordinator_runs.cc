// Runs as people see them: submit, look at, pause, resume, cancel.
#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/yaml.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/extension.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"
#include "model/utf8.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

constexpr size_t kMaxKeyLength = 128;  // of the keys and ids of requests
constexpr int64_t kMaxListed = 10000;
// An answer stays below the 4 MiB that gRPC takes. The evaluations of one step are far fewer.
constexpr int64_t kMaxListedSteps = 5000;
constexpr int64_t kMaxListedEvaluations = 5000;

absl::Status SpecError(absl::string_view message) {
  return TypedError(absl::StatusCode::kInvalidArgument, v1::ErrorDetail::INVALID_RUN_SPEC, message,
                    "");
}

std::string Named(const RunEntry& run) { return NamedRun(run.record.name, run.record.run_id); }

bool HasOrigin(const RunSpec& spec) { return !spec.extend_run.empty() || !spec.clone_run.empty(); }

// One sentence for the event. `named`: what to call the run of that id.
std::string Submitted(const RunSpec& spec,
                      const std::function<std::string(const std::string&)>& named) {
  std::string out = absl::StrCat("run ", spec.name);
  if (!IsTraining(spec)) return absl::StrCat(out, ", job ", spec.job, " of run ", named(spec.of));
  absl::StrAppend(&out, " of ", spec.steps, " steps");
  if (!spec.extend_run.empty()) {
    absl::StrAppend(&out, ", extends run ", named(spec.extend_run), " from step ",
                    spec.extend_step);
  }
  if (!spec.clone_run.empty()) {
    absl::StrAppend(
        &out, ", begins with the ",
        spec.clone_weights_only ? absl::StrCat(spec.clone_weights, " weights") : "state",
        " of run ", named(spec.clone_run), " at step ", spec.clone_step);
  }
  std::vector<std::string> after;
  for (const std::string& id : spec.after) after.push_back(named(id));
  if (!after.empty()) absl::StrAppend(&out, ", after ", JoinWords(after));
  return out;
}

// The runs that must be there, and complete, for it to begin or to go on: those it waited for
// before it began have been complete then, and may be gone by now.
std::vector<std::string> RunsNeededBy(const RunEntry& run) {
  std::vector<std::string> ids;
  if (run.record.started_ms == 0) ids = run.spec.after;
  if (!run.spec.of.empty()) ids.push_back(run.spec.of);
  return ids;
}

// What can be done with a run that has ended for good.
std::string InsteadOfResume(const RunEntry& run) {
  const int64_t last = LastExtensibleStep(run.spec);
  const bool extensible = !run.checkpoints.empty() && run.checkpoints.front().step() <= last;
  const std::string extend =
      extensible ? absl::StrCat("`tritterctl extend ", run.record.run_id,
                                " --steps N` goes on from one of its checkpoints, as a new run")
                 : "";
  if (run.record.state != v1::RUN_STATE_CANCELLED) return extend;
  return absl::StrCat(extend, extend.empty() ? "" : "; ", "`tritterctl submit ",
                      JoinPath(run.record.run_dir, "spec.yaml"), "` begins it anew");
}

}  // namespace

absl::Status Coordinator::ResolveReferences(RunSpec* spec) {
  const auto resolve = [&](const char* key, std::string* name) REQUIRES(mu_) -> absl::Status {
    const absl::StatusOr<RunEntry*> run = FindRun(*name);
    if (!run.ok()) {
      v1::ErrorDetail detail;
      detail.set_reason(v1::ErrorDetail::INVALID_RUN_SPEC);
      detail.set_field(key);
      detail.set_actual(*name);
      detail.set_hint("submit that one first; `tritterctl get runs` lists those there are");
      return TypedError(absl::StatusCode::kInvalidArgument, detail,
                        absl::StrCat(key, ": no run has the name or identifier \"", *name, "\""));
    }
    const RunRecord& other = (*run)->record;
    if ((*run)->deleting) {
      return SpecError(
          absl::StrCat(key, ": run ", Named(**run), " is being deleted; name another"));
    }
    if (other.state == v1::RUN_STATE_CANCELLED) {
      return SpecError(absl::StrCat(key, ": run ", Named(**run),
                                    " was cancelled and will not be complete; name another"));
    }
    *name = other.run_id;
    return absl::OkStatus();
  };
  for (std::string& name : spec->after) RETURN_IF_ERROR(resolve("after", &name));
  if (IsTraining(*spec)) return absl::OkStatus();
  RETURN_IF_ERROR(resolve("of", &spec->of));
  RETURN_IF_ERROR(CheckJob(*spec));
  if (spec->serve_model.empty()) spec->serve_model = DefaultModelName(*spec);
  return absl::OkStatus();
}

absl::Status Coordinator::CheckNeedsAreThere(const RunEntry& run) {
  for (const std::string& id : RunsNeededBy(run)) {
    const auto it = runs_.find(id);
    if (it != runs_.end() && !it->second.deleted) continue;
    const bool of = id == run.spec.of;
    return TypedError(
        absl::StatusCode::kFailedPrecondition, v1::ErrorDetail::WRONG_STATE,
        absl::StrCat("cannot resume run ", Named(run), ": run ",
                     it == runs_.end() ? id : Named(it->second), ", ",
                     of ? "on which it works" : "for which it waits", ", was deleted"),
        absl::StrCat("submit it anew with another `", of ? "of" : "after", "`: its run.yaml is ",
                     JoinPath(run.record.run_dir, "spec.yaml")));
  }
  return absl::OkStatus();
}

Wait Coordinator::Dependencies(const RunEntry& run) {
  std::vector<DependencyView> views;
  for (const std::string& id : RunsNeededBy(run)) {
    DependencyView& view = views.emplace_back();
    view.run_id = id;
    view.of = id == run.spec.of;
    const auto it = runs_.find(id);
    view.known = it != runs_.end() && !it->second.deleted;
    if (!view.known) continue;
    const RunRecord& other = it->second.record;
    view.name = other.name;
    view.state = other.state;
    view.reason = other.reason;
    view.step = other.step;
    view.total_steps = other.total_steps;
  }
  return DecideDependencies(views);
}

absl::StatusOr<Coordinator::Prepared> Coordinator::Prepare(const std::string& yaml,
                                                           const std::string& file_name,
                                                           const std::string& base_dir) {
  if (yaml.size() > kMaxYamlBytes) {
    return SpecError(
        absl::StrCat("the run has ", yaml.size(), " bytes, at most ", kMaxYamlBytes, " are taken"));
  }
  if (!base_dir.empty() && !absl::StartsWith(base_dir, "/")) {
    return SpecError(absl::StrCat("base_dir is \"", base_dir, "\", expected an absolute folder"));
  }
  absl::StatusOr<RunSpec> spec =
      ParseRunSpec(yaml, file_name.empty() ? "run.yaml" : file_name, base_dir);
  if (!spec.ok()) return SpecError(spec.status().message());
  Prepared out;
  out.yaml = CanonicalYaml(*spec);
  out.hash = Sha256Hex(out.yaml);
  out.spec = *std::move(spec);
  return out;
}

absl::Status Coordinator::Admit(const RunSpec& spec, const std::vector<SourceFacts>& sources) {
  AdmissionFacts facts;
  facts.sources = sources;
  facts.roots = options_.roots;
  for (const auto& [name, worker] : workers_.all()) {
    if (!worker.lost) facts.workers.push_back({name, worker.info.memory_bytes()});
  }
  for (const auto& [id, run] : runs_) facts.queued += run.record.state == v1::RUN_STATE_QUEUED;
  return CheckAdmission(spec, facts, options_.admission);
}

absl::StatusOr<v1::SubmitRunResponse> Coordinator::KnownKey(const std::string& key,
                                                            const std::string& hash, bool* known) {
  v1::SubmitRunResponse out;
  *known = false;
  if (key.empty()) return out;
  ASSIGN_OR_RETURN(const std::optional<IdempotencyRecord> record,
                   Apart([&] { return store_->FindKey(key); }));
  if (!record.has_value()) return out;
  const auto it = runs_.find(record->run_id);
  if (it != runs_.end() && it->second.deleted) return out;  // meanwhile, with its keys
  *known = true;
  if (record->request_hash != hash) {
    v1::ErrorDetail detail;
    detail.set_reason(v1::ErrorDetail::IDEMPOTENCY_CONFLICT);
    detail.set_field("idempotency_key");
    detail.set_actual(hash);
    detail.set_expected(record->request_hash);
    detail.set_hint("use another key for another run");
    return TypedError(absl::StatusCode::kAlreadyExists, detail,
                      absl::StrCat("key \"", key, "\" was used for run ", record->run_id,
                                   " with another configuration"));
  }
  if (it == runs_.end()) {  // the answer of an earlier write was lost
    ASSIGN_OR_RETURN(const std::vector<RunRecord> stored, Apart([&] { return store_->Runs(); }));
    for (const RunRecord& r : stored) {
      if (r.run_id != record->run_id) continue;
      ASSIGN_OR_RETURN(RunEntry run, Apart([&] { return ReadRun(r); }));
      runs_[r.run_id] = std::move(run);
    }
    if (!runs_.contains(record->run_id)) {
      return absl::DataLossError(absl::StrCat("key \"", key, "\" was used for run ",
                                              ShowableUtf8(record->run_id, kMaxKeyLength),
                                              ", which the store does not have; use another key"));
    }
  }
  *out.mutable_run() = DescribeRun(runs_.at(record->run_id));
  out.set_repeated(true);
  return out;
}

absl::StatusOr<v1::SubmitRunResponse> Coordinator::Submit(const v1::SubmitRunRequest& request) {
  const std::string& key = request.idempotency_key();
  if (key.size() > kMaxKeyLength) {
    return SpecError(absl::StrCat("idempotency_key has ", key.size(), " characters, at most ",
                                  kMaxKeyLength, " are taken"));
  }
  ASSIGN_OR_RETURN(Prepared run, Prepare(request.yaml(), request.file_name(), request.base_dir()));
  const std::string request_hash = run.hash;
  bool known = false;
  std::string promised;  // the name that it gets
  {
    MutexLock one(&submit_mu_);
    MutexLock lock(&mu_);
    absl::StatusOr<v1::SubmitRunResponse> earlier = KnownKey(key, request_hash, &known);
    if (known || !earlier.ok()) return earlier;
    RETURN_IF_ERROR(ResolveReferences(&run.spec));
    RETURN_IF_ERROR(Admit(run.spec, {}));  // roots and queue, before anything is opened
    // Now, since it is written into the checkpoint with which it may begin.
    if (request.distinct_name()) {
      promised = run.spec.name = FreeName(run.spec.name);
      promised_names_.insert(promised);
    }
  }
  const absl::Cleanup given = [&] {
    MutexLock lock(&mu_);
    promised_names_.erase(promised);
  };
  run.yaml = CanonicalYaml(run.spec);
  run.hash = Sha256Hex(run.yaml);
  const std::vector<SourceFacts> sources = catalog_->Inspect(run.spec);
  RunEntry entry;
  RunRecord& r = entry.record;
  r.run_id = run_id_();
  r.run_dir = JoinPath(options_.data_dir, absl::StrCat("runs/", r.run_id));
  // Nothing of a run that is not submitted stays; one that may be stored is left alone.
  absl::Cleanup remove = [this, dir = r.run_dir] { env_->RemoveTree(dir).IgnoreError(); };
  RETURN_IF_ERROR(CheckpointsOf(entry)->Create());
  if (HasOrigin(run.spec)) {
    ASSIGN_OR_RETURN(const v1::Checkpoint start, CopyOrigin(r, sources, &run));
    entry.checkpoints = {start};
  }

  MutexLock one(&submit_mu_);
  MutexLock lock(&mu_);
  absl::StatusOr<v1::SubmitRunResponse> earlier = KnownKey(key, request_hash, &known);
  if (known || !earlier.ok()) return earlier;
  // Once more: what it needs may have been cancelled or deleted meanwhile. From here on it stays.
  RETURN_IF_ERROR(ResolveReferences(&run.spec));
  RETURN_IF_ERROR(Admit(run.spec, sources));
  submitting_needs_ = run.spec.after;
  if (!run.spec.of.empty()) submitting_needs_.push_back(run.spec.of);
  r.name = run.spec.name;
  r.state = v1::RUN_STATE_QUEUED;
  r.reason = "just submitted";
  r.spec_yaml = run.yaml;
  r.spec_hash = run.hash;
  r.step = r.best_step = entry.committed_step();
  r.total_steps = run.spec.steps;
  r.priority = run.spec.priority;
  r.created_ms = NowMs();
  entry.spec = std::move(run.spec);
  entry.parameters = ParameterCount(entry.spec.model);
  absl::Status status = Apart(
      [&] { return WriteFileAtomically(env_, JoinPath(r.run_dir, "spec.yaml"), r.spec_yaml); });
  if (status.ok()) {
    WriteBatch batch;
    batch.runs = {r};
    for (const v1::Checkpoint& start : entry.checkpoints)
      batch.checkpoints.push_back({r.run_id, start});
    if (!key.empty()) batch.keys = {{key, request_hash, r.run_id, r.created_ms}};
    const auto named = [&](const std::string& id) REQUIRES(mu_) {
      const auto it = runs_.find(id);
      return it == runs_.end() ? id : NamedRun(it->second.record.name, id);
    };
    batch.events = {NewEvent(r.run_id, kEventRunSubmitted, Submitted(entry.spec, named))};
    status = Write(&batch);
  }
  submitting_needs_.clear();
  if (status.ok() || absl::IsUnavailable(status)) std::move(remove).Cancel();
  RETURN_IF_ERROR(status);
  v1::SubmitRunResponse out;
  const std::string id = r.run_id;
  RunEntry& kept = runs_[id] = std::move(entry);
  *out.mutable_run() = DescribeRun(kept);
  out.set_warning(NameWarning(kept.record));
  Touch(&kept);
  kicked_ = true;
  wake_.NotifyAll();
  return out;
}

absl::StatusOr<v1::ValidateRunResponse> Coordinator::Validate(
    const v1::ValidateRunRequest& request) {
  ASSIGN_OR_RETURN(Prepared run, Prepare(request.yaml(), request.file_name(), request.base_dir()));
  {
    MutexLock lock(&mu_);
    RETURN_IF_ERROR(ResolveReferences(&run.spec));
    RETURN_IF_ERROR(Admit(run.spec, {}));
  }
  const std::vector<SourceFacts> sources = catalog_->Inspect(run.spec);
  if (HasOrigin(run.spec)) {
    ASSIGN_OR_RETURN(const Origin origin, FindOrigin(run.spec));
    if (!run.spec.clone_run.empty()) RETURN_IF_ERROR(CheckTokenizer(run.spec, origin, sources));
  }
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Admit(run.spec, sources));
  v1::ValidateRunResponse out;
  out.set_spec_yaml(CanonicalYaml(run.spec));
  return out;
}

absl::StatusOr<v1::Run> Coordinator::Get(const std::string& name, bool for_change) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunEntry* run, for_change ? FindRunToChange(name) : FindRun(name));
  v1::Run out = DescribeRun(*run);
  if (name != out.run_id()) out.set_runs_of_name(static_cast<int32_t>(RunsNamed(name).size()));
  return out;
}

v1::ListRunsResponse Coordinator::List(int64_t limit) {
  MutexLock lock(&mu_);
  std::vector<const RunEntry*> all;
  for (const auto& [id, run] : runs_) {
    if (!run.deleted) all.push_back(&run);
  }
  std::sort(all.begin(), all.end(), [](const RunEntry* a, const RunEntry* b) {
    return std::tie(b->record.created_ms, b->record.run_id) <
           std::tie(a->record.created_ms, a->record.run_id);
  });
  const size_t n = limit <= 0 ? 100 : static_cast<size_t>(std::min(limit, kMaxListed));
  if (all.size() > n) all.resize(n);
  v1::ListRunsResponse out;
  for (const RunEntry* run : all) *out.add_runs() = DescribeRun(*run);
  return out;
}

absl::StatusOr<v1::Run> Coordinator::ChangeState(RunEntry* run, RunRecord next,
                                                 const std::string& kind,
                                                 const IdempotencyRecord& request) {
  if (IsFinal(next.state) && next.finished_ms == 0) next.finished_ms = NowMs();
  WriteBatch batch;
  batch.runs = {next};
  if (!request.key.empty()) batch.keys = {request};
  AddReport(*run, next, nullptr, &batch);
  batch.events.push_back(NewEvent(next.run_id, kind, next.reason));
  RETURN_IF_ERROR(Write(&batch));
  if (run->epoch.has_value()) next.step = std::max(next.step, run->record.step);  // heartbeats
  run->record = std::move(next);
  run->wait_cause = WaitCause::kUndecided;
  Touch(run);
  kicked_ = true;
  wake_.NotifyAll();
  return DescribeRun(*run);
}

absl::Status Coordinator::CheckRequestId(const std::string& request_id) {
  if (request_id.size() <= kMaxKeyLength) return absl::OkStatus();
  return SpecError(absl::StrCat("request_id has ", request_id.size(), " characters, at most ",
                                kMaxKeyLength, " are taken"));
}

std::string Coordinator::ChangeKey(const std::string& request_id) {
  return absl::StrCat("change:", request_id);  // beside the keys of submissions
}

absl::Status Coordinator::RequestIdTaken(const std::string& request_id, const std::string& what,
                                         const std::string& run, const IdempotencyRecord& known) {
  v1::ErrorDetail detail;
  detail.set_reason(v1::ErrorDetail::IDEMPOTENCY_CONFLICT);
  detail.set_field("request_id");
  detail.set_actual(absl::StrCat(what, " ", run));
  detail.set_expected(absl::StrCat(known.request_hash, " ", known.run_id));
  detail.set_hint("draw another id for another change");
  return TypedError(absl::StatusCode::kAlreadyExists, detail,
                    absl::StrCat("request_id \"", request_id, "\" was used to ", known.request_hash,
                                 " run ", known.run_id));
}

absl::StatusOr<v1::Run> Coordinator::ChangeOnce(const std::string& name,
                                                const std::string& request_id,
                                                const std::string& what, const Change& change) {
  RETURN_IF_ERROR(CheckRequestId(request_id));
  MutexLock lock(&mu_);
  const std::string key = ChangeKey(request_id);
  const auto find = [&] { return store_->FindKey(key); };
  // The run that a request of this id has changed as this one wishes: a name may be that of another
  // run by now, or of several of which none is meant more than the others.
  const auto changed = [&](const std::optional<IdempotencyRecord>& known)
                           REQUIRES(mu_) -> const RunEntry* {
    if (!known.has_value() || known->request_hash != what) return nullptr;
    const auto it = runs_.find(known->run_id);
    if (it == runs_.end() || it->second.deleted) return nullptr;
    const RunRecord& r = it->second.record;
    return name == r.run_id || name == r.name ? &it->second : nullptr;
  };
  const absl::StatusOr<RunEntry*> found = FindRunToChange(name);
  if (!found.ok()) {
    if (request_id.empty()) return found.status();
    ASSIGN_OR_RETURN(const std::optional<IdempotencyRecord> known, Apart(find));
    if (const RunEntry* before = changed(known); before != nullptr) return DescribeRun(*before);
    return found.status();
  }
  RunEntry* const run = *found;
  const RunTurn turn = TurnOf(run);
  if (run->deleted) return UnknownRunError(name);  // by now
  if (request_id.empty()) return change(run, {});
  const IdempotencyRecord request = {key, what, run->record.run_id, NowMs()};
  ASSIGN_OR_RETURN(std::optional<IdempotencyRecord> known, Apart(find));
  if (!known.has_value()) {
    const uint64_t version = run->version;
    absl::StatusOr<v1::Run> described = change(run, request);
    if (described.ok() && run->version == version) {
      WriteBatch batch;  // it was so already: no later repeat may change that
      batch.keys = {request};
      if (absl::Status s = Write(&batch); !s.ok()) described = s;
    }
    if (!absl::IsAlreadyExists(described.status())) return described;
    // At the same moment the id was used for another run.
    ASSIGN_OR_RETURN(known, Apart(find));
    if (!known.has_value()) return described;
  }
  if (const RunEntry* before = changed(known); before != nullptr) return DescribeRun(*before);
  return RequestIdTaken(request_id, what, request.run_id, *known);
}

absl::StatusOr<v1::Run> Coordinator::AskToStop(RunEntry* run, Intent intent, v1::RunState stopping,
                                               const IdempotencyRecord& request, bool killed) {
  const bool pause = intent == Intent::kPause;
  RunRecord next = run->record;
  next.intent = intent;
  if (run->epoch.has_value()) {
    const EpochEntry& epoch = *run->epoch;
    PlanInputs in;
    in.spec = &run->spec;
    in.from_step = epoch.planned_end();
    in.committed_step = run->committed_step();
    in.checkpoint_ordered = epoch.OrdersCheckpoint(in.from_step);
    const int64_t last = StopStep(in);
    next.state = stopping;
    next.reason = absl::StrCat(pause ? "pause" : "cancel", " asked for at step ", next.step);
    if (last <= run->committed_step()) {
      absl::StrAppend(&next.reason, "; it stops before its next step");
    } else if (last <= next.step + 1) {
      absl::StrAppend(&next.reason, "; it stops with a checkpoint after step ", last);
    } else {
      // Workers that are told to stop do so after a step; at the end of a plan they ask anyhow.
      absl::StrAppend(&next.reason, "; it stops with a checkpoint after ",
                      IsOuter(run->spec) ? "this round" : "the next step or two", ", at step ",
                      last, " at the latest");
    }
    if (pause && last >= next.total_steps)
      absl::StrAppend(&next.reason, "; should that be the last of all, the run is then complete");
    return ChangeState(run, std::move(next), pause ? kEventRunPausing : kEventRunCancelling,
                       request);
  }
  EpochEnd end{.clean = true, .killed = killed, .waited = true};
  if (const std::optional<HeldChoice> held = HeldOf(*run); held.has_value())
    end.holders = held->holders;
  const RunVerdict verdict =
      DecideAfterEpoch(next, end, run->committed_step(), run->exports(), RetryOptionsOf(run->spec));
  next.state = verdict.state;
  next.reason = verdict.reason;
  next.step = run->committed_step();
  next.intent = Intent::kRun;
  return ChangeState(run, std::move(next), pause ? kEventRunPaused : kEventRunCancelled, request);
}

absl::StatusOr<v1::Run> Coordinator::Pause(const std::string& name, const std::string& request_id) {
  const auto pause = [&](RunEntry* run, const IdempotencyRecord& request)
                         REQUIRES(mu_) -> absl::StatusOr<v1::Run> {
    const v1::RunState state = run->record.state;
    if (state == v1::RUN_STATE_PAUSED || state == v1::RUN_STATE_PAUSING) return DescribeRun(*run);
    if (!NeedsWorkers(state)) return WrongStateError(Named(*run), "pause", StateName(state));
    return AskToStop(run, Intent::kPause, v1::RUN_STATE_PAUSING, request);
  };
  return ChangeOnce(name, request_id, "pause", pause);
}

absl::StatusOr<v1::Run> Coordinator::Resume(const std::string& name,
                                            const std::string& request_id) {
  const auto resume = [&](RunEntry* run, const IdempotencyRecord& request)
                          REQUIRES(mu_) -> absl::StatusOr<v1::Run> {
    const v1::RunState state = run->record.state;
    if (NeedsWorkers(state)) return DescribeRun(*run);
    const bool failed = state == v1::RUN_STATE_FAILED;
    if (!run->spec_error.empty()) {
      return TypedError(absl::StatusCode::kFailedPrecondition, v1::ErrorDetail::WRONG_STATE,
                        absl::StrCat("cannot resume run ", Named(*run), ": ", run->spec_error), "");
    }
    if (!failed && state != v1::RUN_STATE_PAUSED && state != v1::RUN_STATE_PAUSING) {
      return WrongStateError(Named(*run), "resume", StateName(state), InsteadOfResume(*run));
    }
    if (failed) RETURN_IF_ERROR(CheckNeedsAreThere(*run));
    RunRecord next = run->record;
    next.intent = Intent::kRun;
    next.failures = 0;
    next.finished_ms = 0;
    next.state = run->epoch.has_value() ? v1::RUN_STATE_RUNNING : v1::RUN_STATE_QUEUED;
    next.reason = IsTraining(run->spec)
                      ? absl::StrCat("resumed at step ",
                                     run->epoch.has_value() ? next.step : run->committed_step())
                      : "resumed";
    if (failed) {
      if (IsTraining(run->spec) && run->committed_step() >= next.total_steps) {
        // What failed was the export, or its last checkpoint was committed after it had failed.
        RunVerdict verdict =
            DecideAfterEpoch(next, {.clean = true}, run->committed_step(), run->exports());
        next.state = verdict.state;
        next.reason = std::move(verdict.reason);
      }
      absl::StrAppend(&next.reason, "; it had failed: ", run->record.reason);
      run->cause.clear();
    }
    run->not_before = absl::ZeroDuration();
    const bool complete = next.state == v1::RUN_STATE_COMPLETED;
    return ChangeState(run, std::move(next), complete ? kEventRunCompleted : kEventRunResumed,
                       request);
  };
  return ChangeOnce(name, request_id, "resume", resume);
}

absl::StatusOr<v1::Run> Coordinator::Cancel(const std::string& name, bool now,
                                            const std::string& request_id) {
  const auto cancel = [&](RunEntry* run, const IdempotencyRecord& request)
                          REQUIRES(mu_) -> absl::StatusOr<v1::Run> {
    const v1::RunState state = run->record.state;
    if (state == v1::RUN_STATE_CANCELLED || (state == v1::RUN_STATE_CANCELLING && !now))
      return DescribeRun(*run);
    if (IsFinal(state))
      return WrongStateError(Named(*run), now ? "kill" : "cancel", StateName(state));
    const bool writing = state == v1::RUN_STATE_EXPORTING || state == v1::RUN_STATE_DEPLOYING;
    if (writing && run->spec_error.empty()) {
      if (!now) {
        return WrongStateError(Named(*run), "cancel", StateName(state),
                               "wait for its end, or end it at once with `tritterctl kill`");
      }
      RunRecord next = run->record;  // whoever is at it finds this and drops what it has made
      next.state = v1::RUN_STATE_CANCELLED;
      next.reason = absl::StrCat(
          "killed while ", StateName(state),
          IsTraining(run->spec)
              ? absl::StrCat("; its checkpoint of step ", run->committed_step(), " is whole")
              : "");
      return ChangeState(run, std::move(next), kEventRunCancelled, request);
    }
    if (!now || !run->epoch.has_value())
      return AskToStop(run, Intent::kCancel, v1::RUN_STATE_CANCELLING, request, now);
    const EpochEnd end = {.killed = true, .cause = "the run was killed"};
    RunRecord wished = run->record;
    wished.intent = Intent::kCancel;
    const absl::Status stored = TryEndEpoch(run, end, wished, request);
    if (stored.ok()) return DescribeRun(*run);
    if (absl::IsUnavailable(stored)) {
      // It may be stored: then no member may go on. The next tick ends the epoch once more.
      run->record.intent = Intent::kCancel;
      run->epoch->complaint = Complaint{.rank = end.rank,
                                        .text = end.cause,
                                        .permanent = end.permanent,
                                        .at = clock_->Monotonic(),
                                        .end = end};
    }
    return stored;
  };
  return ChangeOnce(name, request_id, now ? "kill" : "cancel", cancel);
}

absl::StatusOr<v1::ListEventsResponse> Coordinator::ListEvents(
    const v1::ListEventsRequest& request) {
  std::string id;
  if (!request.run().empty()) {
    ASSIGN_OR_RETURN(id, RunId(request.run()));
  }
  const int64_t limit =
      request.limit() <= 0 ? 1000 : std::min<int64_t>(request.limit(), kMaxListed);
  ASSIGN_OR_RETURN(const std::vector<v1::Event> events,
                   store_->Events(id, request.after_id(), limit));
  v1::ListEventsResponse out;
  for (const v1::Event& e : events) *out.add_events() = e;
  return out;
}

absl::StatusOr<v1::ListMetricsResponse> Coordinator::ListMetrics(
    const v1::ListMetricsRequest& request) {
  ASSIGN_OR_RETURN(const std::string id, RunId(request.run()));
  const int64_t limit =
      request.limit() <= 0 ? 1000 : std::min<int64_t>(request.limit(), kMaxListedSteps);
  // One more of each than is given: it is where the next part begins.
  ASSIGN_OR_RETURN(const auto steps,
                   store_->Metrics(id, request.first_step(), request.last_step(), limit + 1));
  int64_t next = static_cast<int64_t>(steps.size()) > limit ? steps.back().step() : 0;
  ASSIGN_OR_RETURN(const auto points, store_->Evaluations(id, request.first_step(),
                                                          next > 0 ? next - 1 : request.last_step(),
                                                          kMaxListedEvaluations + 1));
  if (static_cast<int64_t>(points.size()) > kMaxListedEvaluations) next = points.back().step();
  v1::ListMetricsResponse out;
  for (const v1::StepMetrics& m : steps) {
    if (next == 0 || m.step() < next) *out.add_steps() = m;
  }
  for (const v1::EvaluationPoint& p : points) {
    if (next == 0 || p.step() < next) *out.add_evaluations() = p;
  }
  out.set_next_step(next);
  return out;
}

absl::StatusOr<v1::ListCheckpointsResponse> Coordinator::ListCheckpoints(const std::string& name) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunEntry* run, FindRun(name));
  v1::ListCheckpointsResponse out;
  for (const v1::Checkpoint& c : run->checkpoints) *out.add_checkpoints() = c;
  return out;
}

}  // namespace tritter
