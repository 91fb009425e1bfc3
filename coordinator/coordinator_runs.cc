// Runs as people see them: submit, look at, pause, resume, cancel.
#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/extension.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

constexpr size_t kMaxYamlBytes = size_t{1} << 20;
constexpr size_t kMaxKeyLength = 128;
constexpr int64_t kMaxListed = 10000;
// An answer stays below the 4 MiB that gRPC takes. The evaluations of one step are far fewer.
constexpr int64_t kMaxListedSteps = 5000;
constexpr int64_t kMaxListedEvaluations = 5000;

absl::Status SpecError(absl::string_view message) {
  return TypedError(absl::StatusCode::kInvalidArgument, v1::ErrorDetail::INVALID_RUN_SPEC, message,
                    "");
}

// What can be done with a run that has ended for good.
std::string InsteadOfResume(const RunEntry& run, const std::string& name) {
  const int64_t last = LastExtensibleStep(run.spec);
  const bool extensible = !run.checkpoints.empty() && run.checkpoints.front().step() <= last;
  const std::string extend =
      extensible ? absl::StrCat("`tritterctl extend ", name,
                                " --steps N` goes on from one of its checkpoints, as a new run")
                 : "";
  if (run.record.state != v1::RUN_STATE_CANCELLED) return extend;
  return absl::StrCat(extend, extend.empty() ? "" : "; ", "`tritterctl submit ",
                      JoinPath(run.record.run_dir, "spec.yaml"), "` begins it anew");
}

}  // namespace

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
  ASSIGN_OR_RETURN(const std::optional<IdempotencyRecord> record, store_->FindKey(key));
  if (!record.has_value()) return out;
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
  if (!runs_.contains(record->run_id)) {  // the answer of an earlier write was lost
    ASSIGN_OR_RETURN(const std::vector<RunRecord> stored, store_->Runs());
    for (const RunRecord& r : stored) {
      if (r.run_id == record->run_id) RETURN_IF_ERROR(LoadRun(r));
    }
  }
  *out.mutable_run() = DescribeRun(runs_[record->run_id]);
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
  {
    MutexLock lock(&mu_);
    absl::StatusOr<v1::SubmitRunResponse> earlier = KnownKey(key, request_hash, &known);
    if (known || !earlier.ok()) return earlier;
    RETURN_IF_ERROR(Admit(run.spec, {}));  // roots and queue, before anything is opened
  }
  const std::vector<SourceFacts> sources = catalog_->Inspect(run.spec);
  RunEntry entry;
  RunRecord& r = entry.record;
  r.run_id = RandomId("r");
  r.run_dir = JoinPath(options_.data_dir, absl::StrCat("runs/", r.run_id));
  // Nothing of a run that is not submitted stays; one that may be stored is left alone.
  absl::Cleanup remove = [this, dir = r.run_dir] { env_->RemoveTree(dir).IgnoreError(); };
  RETURN_IF_ERROR(CheckpointsOf(entry)->Create());
  if (!run.spec.extend_run.empty()) {
    ASSIGN_OR_RETURN(const v1::Checkpoint start, StartExtension(r, &run));
    entry.checkpoints = {start};
  }

  MutexLock lock(&mu_);
  absl::StatusOr<v1::SubmitRunResponse> earlier = KnownKey(key, request_hash, &known);
  if (known || !earlier.ok()) return earlier;
  RETURN_IF_ERROR(Admit(run.spec, sources));
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
  absl::Status status = WriteFileAtomically(env_, JoinPath(r.run_dir, "spec.yaml"), r.spec_yaml);
  if (status.ok()) {
    WriteBatch batch;
    batch.runs = {r};
    for (const v1::Checkpoint& start : entry.checkpoints)
      batch.checkpoints.push_back({r.run_id, start});
    if (!key.empty()) batch.keys = {{key, request_hash, r.run_id}};
    batch.events = {
        NewEvent(r.run_id, kEventRunSubmitted,
                 absl::StrCat("run ", r.name, " of ", r.total_steps, " steps",
                              entry.checkpoints.empty()
                                  ? ""
                                  : absl::StrCat(", extends run ", entry.spec.extend_run,
                                                 " from step ", entry.spec.extend_step)))};
    status = Write(batch);
  }
  if (status.ok() || absl::IsUnavailable(status)) std::move(remove).Cancel();
  RETURN_IF_ERROR(status);
  v1::SubmitRunResponse out;
  const std::string id = r.run_id;
  RunEntry& kept = runs_[id] = std::move(entry);
  *out.mutable_run() = DescribeRun(kept);
  Touch(&kept);
  kicked_ = true;
  wake_.NotifyAll();
  return out;
}

absl::StatusOr<v1::ValidateRunResponse> Coordinator::Validate(
    const v1::ValidateRunRequest& request) {
  ASSIGN_OR_RETURN(const Prepared run,
                   Prepare(request.yaml(), request.file_name(), request.base_dir()));
  {
    MutexLock lock(&mu_);
    RETURN_IF_ERROR(Admit(run.spec, {}));
  }
  if (!run.spec.extend_run.empty()) RETURN_IF_ERROR(FindExtended(run.spec).status());
  const std::vector<SourceFacts> sources = catalog_->Inspect(run.spec);
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(Admit(run.spec, sources));
  v1::ValidateRunResponse out;
  out.set_spec_yaml(run.yaml);
  return out;
}

absl::StatusOr<v1::Run> Coordinator::Get(const std::string& name) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const RunEntry* run, FindRun(name));
  return DescribeRun(*run);
}

v1::ListRunsResponse Coordinator::List(int64_t limit) {
  MutexLock lock(&mu_);
  std::vector<const RunEntry*> all;
  for (const auto& [id, run] : runs_) all.push_back(&run);
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
                                                 const std::string& kind) {
  if (IsFinal(next.state) && next.finished_ms == 0) next.finished_ms = NowMs();
  WriteBatch batch;
  batch.runs = {next};
  AddReport(*run, next, nullptr, &batch);
  batch.events.push_back(NewEvent(next.run_id, kind, next.reason));
  RETURN_IF_ERROR(Write(batch));
  run->record = std::move(next);
  Touch(run);
  kicked_ = true;
  wake_.NotifyAll();
  return DescribeRun(*run);
}

absl::StatusOr<v1::Run> Coordinator::AskToStop(const std::string& name, Intent intent,
                                               v1::RunState stopping) {
  ASSIGN_OR_RETURN(RunEntry * run, FindRun(name));
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
    next.reason =
        absl::StrCat(pause ? "pause" : "cancel", " asked for at step ", next.step,
                     last <= run->committed_step()
                         ? "; it stops before its next step"
                         : absl::StrCat("; it stops with a checkpoint after step ", last));
    if (const double seconds = SecondsUntil(*run, last); seconds > 0) {
      absl::StrAppend(&next.reason, ", about ", Seconds(absl::Seconds(std::ceil(seconds))),
                      " later");
    }
    if (pause && last >= next.total_steps)
      absl::StrAppend(&next.reason, ": the last of all, the run is then complete");
    return ChangeState(run, std::move(next), pause ? kEventRunPausing : kEventRunCancelling);
  }
  const RunVerdict verdict = DecideAfterEpoch(next, {.clean = true}, run->committed_step(),
                                              run->exports(), options_.retry);
  next.state = verdict.state;
  next.reason = verdict.reason;
  next.step = run->committed_step();
  next.intent = Intent::kRun;
  return ChangeState(run, std::move(next), pause ? kEventRunPaused : kEventRunCancelled);
}

absl::StatusOr<v1::Run> Coordinator::Pause(const std::string& name) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(RunEntry * run, FindRun(name));
  const v1::RunState state = run->record.state;
  if (state == v1::RUN_STATE_PAUSED || state == v1::RUN_STATE_PAUSING) return DescribeRun(*run);
  if (!NeedsWorkers(state)) return WrongStateError(name, "pause", StateName(state));
  return AskToStop(name, Intent::kPause, v1::RUN_STATE_PAUSING);
}

absl::StatusOr<v1::Run> Coordinator::Resume(const std::string& name) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(RunEntry * run, FindRun(name));
  const v1::RunState state = run->record.state;
  if (NeedsWorkers(state)) return DescribeRun(*run);
  const bool failed = state == v1::RUN_STATE_FAILED;
  if (!run->spec_error.empty()) {
    return TypedError(absl::StatusCode::kFailedPrecondition, v1::ErrorDetail::WRONG_STATE,
                      absl::StrCat("cannot resume run ", name, ": ", run->spec_error), "");
  }
  if (!failed && state != v1::RUN_STATE_PAUSED && state != v1::RUN_STATE_PAUSING) {
    return WrongStateError(name, "resume", StateName(state), InsteadOfResume(*run, name));
  }
  RunRecord next = run->record;
  next.intent = Intent::kRun;
  next.failures = 0;
  next.finished_ms = 0;
  next.state = run->epoch.has_value() ? v1::RUN_STATE_RUNNING : v1::RUN_STATE_QUEUED;
  next.reason =
      absl::StrCat("resumed at step ", run->epoch.has_value() ? next.step : run->committed_step());
  if (failed) {
    if (run->committed_step() >= next.total_steps) {  // what failed was the export
      next.state = v1::RUN_STATE_EXPORTING;
    }
    absl::StrAppend(&next.reason, "; it had failed: ", run->record.reason);
    run->cause.clear();
  }
  run->not_before = absl::ZeroDuration();
  return ChangeState(run, std::move(next), kEventRunResumed);
}

absl::StatusOr<v1::Run> Coordinator::Cancel(const std::string& name, bool now) {
  MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(RunEntry * run, FindRun(name));
  const v1::RunState state = run->record.state;
  if (state == v1::RUN_STATE_CANCELLED || (state == v1::RUN_STATE_CANCELLING && !now))
    return DescribeRun(*run);
  const bool exporting = state == v1::RUN_STATE_EXPORTING && run->spec_error.empty();
  if (IsFinal(state) || exporting) return WrongStateError(name, "cancel", StateName(state));
  ASSIGN_OR_RETURN(v1::Run described, AskToStop(name, Intent::kCancel, v1::RUN_STATE_CANCELLING));
  if (now && run->epoch.has_value()) {
    EndEpoch(run, {.cause = "cancelled at once"});
    return DescribeRun(*run);
  }
  return described;
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
