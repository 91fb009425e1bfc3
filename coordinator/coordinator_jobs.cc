// Jobs that train nothing: they wait for the run they work on, then write or serve what it left.
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

constexpr absl::Duration kServerRetry = absl::Seconds(5);

absl::Status NotPossible(absl::StatusCode code, absl::string_view message) {
  return TypedError(code, v1::ErrorDetail::INVALID_RUN_SPEC, message, "");
}

// What servers load by name is one file.
bool IsServed(const std::string& format) { return format == "tpack" || format == "gguf"; }

}  // namespace

absl::Status Coordinator::CheckJob(const RunSpec& spec) {
  const RunEntry& of = runs_.at(spec.of);
  const std::string named = absl::StrCat("of: run ", of.record.name, " (", spec.of, ")");
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  if (!of.spec_error.empty())
    return NotPossible(kInvalid, absl::StrCat(named, ": ", of.spec_error));
  if (spec.job == "export") {
    if (!IsTraining(of.spec)) {
      return NotPossible(kInvalid, absl::StrCat(named, " is a job ", of.spec.job,
                                                ", expected one that trains: its checkpoint is "
                                                "exported"));
    }
    ExportOptions options;
    options.format = spec.export_format;
    options.head = spec.export_head;
    const absl::Status can = CheckExportable(of.spec.model, options);
    if (can.ok()) return can;
    return NotPossible(kInvalid, absl::StrCat("export.format: ", spec.export_format,
                                              " is not for the model of run ", of.record.name, ": ",
                                              can.message()));
  }
  if (!IsServed(of.spec.export_format)) {
    return NotPossible(
        kInvalid,
        absl::StrCat(named, " exports ",
                     of.spec.export_format.empty() ? "nothing" : of.spec.export_format,
                     ", expected tpack or gguf, which servers load by name; submit a run with "
                     "`job: export` and serve that"));
  }
  if (options_.inference_servers.empty() || options_.model_root.empty()) {
    return NotPossible(absl::StatusCode::kFailedPrecondition,
                       "job: serve needs servers, and this coordinator knows none; start it with "
                       "--inference-server HOST:PORT and --model-root FOLDER, the folder that "
                       "these servers were given as --model-root");
  }
  return absl::OkStatus();
}

std::string Coordinator::DefaultModelName(const RunSpec& spec) {
  const RunEntry& of = runs_.at(spec.of);
  if (IsTraining(of.spec)) return of.record.name;
  const auto trained = runs_.find(of.spec.of);
  return trained == runs_.end() ? of.record.name : trained->second.record.name;
}

void Coordinator::StartJobs() {
  MutexLock lock(&mu_);
  if (stopping_) return;
  for (auto& [id, run] : runs_) {
    const bool begun = run.record.state == v1::RUN_STATE_DEPLOYING && !run.deploying;
    if ((run.record.state != v1::RUN_STATE_QUEUED && !begun) || IsTraining(run.spec)) continue;
    if (begun && CheckJob(run.spec).ok()) continue;
    const RunTurn turn = TurnOf(&run);
    if (begun) {
      // A coordinator that was started without servers: it is not deployed to nobody.
      if (run.record.state != v1::RUN_STATE_DEPLOYING) continue;  // by now
      RunRecord next = run.record;
      next.state = v1::RUN_STATE_QUEUED;
      next.reason = "the coordinator was started again, and cannot go on with it";
      ChangeState(&run, std::move(next), kEventRunWaiting).status().IgnoreError();
      continue;
    }
    if (run.record.state != v1::RUN_STATE_QUEUED) continue;  // by now
    if (const Wait others = Dependencies(run); others.waits()) {
      SetWaiting(&run, others);
      continue;
    }
    // It was possible when it was submitted; this coordinator may have been started otherwise.
    if (const absl::Status can = CheckJob(run.spec); !can.ok()) {
      SetWaiting(&run, {absl::IsFailedPrecondition(can) ? WaitCause::kNoInferenceServers
                                                        : WaitCause::kSpecUnreadable,
                        std::string(can.message())});
      continue;
    }
    const bool exports = run.spec.job == "export";
    const std::string& of = runs_.at(run.spec.of).record.name;
    RunRecord next = run.record;
    next.state = exports ? v1::RUN_STATE_EXPORTING : v1::RUN_STATE_DEPLOYING;
    if (next.started_ms == 0) next.started_ms = NowMs();
    next.reason =
        exports
            ? absl::StrCat("exports run ", of, " (", run.spec.of, ") as ", run.spec.export_format)
            : absl::StrCat("has ",
                           Count(static_cast<int64_t>(options_.inference_servers.size()), "server"),
                           " load what run ", of, " (", run.spec.of, ") has exported, as model ",
                           run.spec.serve_model);
    run.export_retry_at = absl::ZeroDuration();
    run.deployed.clear();
    ChangeState(&run, std::move(next), exports ? kEventRunExporting : kEventRunDeploying)
        .status()
        .IgnoreError();  // the next tick tries again
  }
}

void Coordinator::StartDeployments() {
  std::string run_id;
  {
    MutexLock lock(&mu_);
    for (auto& [id, run] : runs_) {
      if (run.deploying) return;  // one at a time
      if (run.record.state == v1::RUN_STATE_DEPLOYING && run_id.empty() && run.spec_error.empty() &&
          clock_->Monotonic() >= run.export_retry_at)
        run_id = id;
    }
    if (run_id.empty() || stopping_) return;
    runs_.at(run_id).deploying = true;
  }
  if (deploy_thread_.joinable()) deploy_thread_.join();  // the one before has ended
  if (options_.background) {
    deploy_thread_ = std::thread([this, run_id] { DeployRun(run_id); });
  } else {
    DeployRun(run_id);
  }
}

// A copy below the servers' root, from one moment to the next. Servers that have the file before it
// mapped keep that until they have swapped.
absl::Status Coordinator::PublishModel(const v1::Artifact& artifact, const std::string& model) {
  const std::string path = JoinPath(options_.model_root, absl::StrCat(model, ".", artifact.kind()));
  const std::string plain = JoinPath(options_.model_root, model);
  if (env_->Exists(plain)) {
    return absl::FailedPreconditionError(
        absl::StrCat(plain, " is there, and servers would load it instead of ", Basename(path),
                     "; remove it, or give serve.model another name"));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, env_->MapFile(artifact.path()));
  const absl::string_view bytes(reinterpret_cast<const char*>(file->bytes().data()),
                                file->bytes().size());
  if (const std::string actual = Sha256Hex(bytes); actual != artifact.sha256()) {
    return absl::DataLossError(absl::StrCat(artifact.path(), " has SHA-256 ", actual,
                                            ", exported was ", artifact.sha256(),
                                            "; export it again"));
  }
  RETURN_IF_ERROR(env_->CreateDirs(options_.model_root));
  RETURN_IF_ERROR(WriteFileAtomically(env_, path, bytes));
  // Of two files of one name servers take the first that they look for.
  const std::string other = JoinPath(
      options_.model_root, absl::StrCat(model, artifact.kind() == "tpack" ? ".gguf" : ".tpack"));
  return env_->Exists(other) ? env_->RemoveFile(other) : absl::OkStatus();
}

void Coordinator::DeployRun(const std::string& run_id) {
  std::optional<v1::Artifact> artifact;
  std::string model;
  std::set<std::string> loaded;
  {
    MutexLock lock(&mu_);
    const RunEntry& run = runs_.at(run_id);
    model = run.spec.serve_model;
    loaded = run.deployed;
    for (const v1::Artifact& a : runs_.at(run.spec.of).artifacts) {
      if (IsServed(a.kind())) artifact = a;
    }
  }
  absl::Status status = absl::NotFoundError("what was to be served is not there any more");
  if (artifact.has_value())
    status = loaded.empty() ? PublishModel(*artifact, model) : absl::OkStatus();
  for (const std::string& server : options_.inference_servers) {
    if (!status.ok()) break;
    if (loaded.contains(server)) continue;
    status = Annotate(load_model_(server, model), absl::StrCat("server ", server));
    if (status.ok()) loaded.insert(server);
  }
  MutexLock lock(&mu_);
  RunEntry& run = runs_.at(run_id);
  const RunTurn turn = TurnOf(&run);
  run.deploying = false;
  if (run.record.state != v1::RUN_STATE_DEPLOYING) return;  // killed meanwhile
  run.deployed = loaded;
  const bool again =
      absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsAborted(status);
  if (again) {
    run.export_retry_at = clock_->Monotonic() + kServerRetry;
    const std::string reason =
        absl::StrCat(loaded.size(), " of ",
                     Count(static_cast<int64_t>(options_.inference_servers.size()), "server"),
                     options_.inference_servers.size() == 1 ? " has model " : " have model ", model,
                     "; ", std::string(status.message()), "; tried again every ",
                     Seconds(kServerRetry), ", `tritterctl kill` gives it up");
    if (run.record.reason != reason) {
      RunRecord next = run.record;
      next.reason = reason;
      ChangeState(&run, std::move(next), kEventRunWaiting).status().IgnoreError();
    }
    run.wait_cause = WaitCause::kServerAway;
    return;
  }
  RunRecord next = run.record;
  next.state = status.ok() ? v1::RUN_STATE_COMPLETED : v1::RUN_STATE_FAILED;
  next.reason =
      status.ok()
          ? absl::StrCat("model ", model, " (", artifact->kind(), " of step ", artifact->step(),
                         ") is served by ", absl::StrJoin(options_.inference_servers, ", "))
          : absl::StrCat("model ", model, " cannot be served: ", std::string(status.message()),
                         "; when that is mended `tritterctl resume` tries it again");
  if (absl::Status s =
          ChangeState(&run, next, status.ok() ? kEventRunCompleted : kEventRunFailed).status();
      !s.ok()) {
    LogError("deployment_not_stored", {{"run", run_id}, {"error", std::string(s.message())}});
    run.record.reason =
        absl::StrCat(next.reason, "; this cannot be stored yet (", std::string(s.message()),
                     "), it is tried again every ", Seconds(kServerRetry));
    run.wait_cause = WaitCause::kStoreFailing;
    Touch(&run);
    run.export_retry_at = clock_->Monotonic() + kServerRetry;
  }
}

}  // namespace tritter
