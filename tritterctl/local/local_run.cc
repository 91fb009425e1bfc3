#include "tritterctl/local/local_run.h"

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "tritterctl/local/run_difference.h"
#include "tritterctl/run_view.h"
#include "tritterctl/watch.h"

namespace tritter {
namespace {

constexpr int kMostAttempts = 1000;
constexpr absl::Duration kAwayLimit = absl::Seconds(60);

// Calls until the coordinator answers: it may just be starting again. Only for calls that may be
// repeated.
template <typename Call>
auto RetryWhileAway(LocalCluster* cluster, Clock* clock, Call call) -> decltype(call()) {
  const absl::Duration deadline = clock->Monotonic() + kAwayLimit;
  for (;;) {
    auto answer = call();
    const bool away =
        absl::IsUnavailable(answer.status()) || absl::IsDeadlineExceeded(answer.status());
    if (!away || clock->Monotonic() > deadline) return answer;
    RETURN_IF_ERROR(cluster->Tick());
    if (WaitForShutdown(absl::Milliseconds(100))) return absl::CancelledError("interrupted");
  }
}

// The run of this configuration unless it was cancelled, or a new one.
absl::StatusOr<v1::SubmitRunResponse> SubmitOrFind(LocalCluster* cluster, Clock* clock,
                                                   RunApi* client, const RunFile& file,
                                                   const std::string& dir) {
  v1::SubmitRunRequest request;
  request.set_yaml(file.yaml);
  request.set_file_name(file.path);
  request.set_base_dir(file.base_dir);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    request.set_idempotency_key(LocalRunKey(file.spec, dir, attempt));
    ASSIGN_OR_RETURN(const v1::SubmitRunResponse answer,
                     RetryWhileAway(cluster, clock, [&] { return client->SubmitRun(request); }));
    if (!answer.repeated() || answer.run().state() != v1::RUN_STATE_CANCELLED) return answer;
  }
  return absl::ResourceExhaustedError(absl::StrCat(kMostAttempts,
                                                   " runs of this configuration were cancelled in ",
                                                   dir, "; choose another --dir"));
}

// The folder may hold runs of other configurations. One that is not finished would be trained
// first: it is paused. What is there already, and how to go on with it, is told.
absl::Status SetOthersAside(LocalCluster* cluster, Clock* clock, RunApi* client,
                            const LocalRunResult& result, const std::string& dir,
                            ProgressPrinter* progress) {
  ASSIGN_OR_RETURN(const v1::ListRunsResponse runs,
                   RetryWhileAway(cluster, clock, [&] { return client->ListRuns(0); }));
  bool newest = true;
  for (v1::Run other : runs.runs()) {  // newest first
    if (other.run_id() == result.run.run_id()) continue;
    const bool training = !IsTerminal(other.state()) && other.state() != v1::RUN_STATE_PAUSED &&
                          other.state() != v1::RUN_STATE_EXPORTING;
    if (training) {
      absl::StatusOr<v1::Run> paused =
          RetryWhileAway(cluster, clock, [&] { return client->PauseRun(other.run_id()); });
      // It may have ended just now.
      if (!paused.ok() && !absl::IsFailedPrecondition(paused.status())) return paused.status();
      if (paused.ok()) other = *std::move(paused);
    }
    const bool tell = newest && !result.found;
    newest = false;
    if (!tell && !training) continue;
    std::string text =
        absl::StrCat("this folder has run ", other.run_id(), ", ", StateName(other.state()),
                     " at step ", other.step(), " of ", other.total_steps());
    if (tell) {
      const std::vector<std::string> keys =
          DifferingKeys(other.spec_yaml(), result.run.spec_yaml());
      absl::StrAppend(&text,
                      keys.empty()
                          ? ", of the same configuration"
                          : absl::StrCat("; the configuration differs in ", DifferenceText(keys)),
                      ": a new run begins");
    }
    if (!IsTerminal(other.state()) || other.state() == v1::RUN_STATE_FAILED) {
      absl::StrAppend(&text, "; go on with the earlier one by tritterctl local ",
                      JoinPath(other.run_dir(), "spec.yaml"), " --dir ", dir);
    }
    progress->Message(text);
  }
  return absl::OkStatus();
}

}  // namespace

std::string LocalRunKey(const RunSpec& spec, const std::string& dir, int attempt) {
  return absl::StrCat("local-",
                      Sha256Hex(absl::StrCat(CanonicalYaml(spec), "\n", dir)).substr(0, 40), "-",
                      attempt);
}

std::string StoppedWords(const absl::StatusOr<v1::Run>& run) {
  if (!run.ok()) return "stopped; it goes on from its newest checkpoint";
  if (run->committed_step() > 0)
    return absl::StrCat("stopped with a checkpoint at step ", run->committed_step());
  return "stopped before its first checkpoint; it begins anew";
}

absl::StatusOr<LocalRunResult> RunOnCluster(LocalCluster* cluster, const RunApiFactory& connect,
                                            Clock* clock, const RunFile& file,
                                            const std::string& dir, ProgressPrinter* progress) {
  const std::unique_ptr<RunApi> client = connect(cluster->address());
  LocalRunResult result;
  ASSIGN_OR_RETURN(const v1::SubmitRunResponse submitted,
                   SubmitOrFind(cluster, clock, client.get(), file, dir));
  result.run = submitted.run();
  result.found = submitted.repeated();
  const std::string id = result.run.run_id();
  RETURN_IF_ERROR(SetOthersAside(cluster, clock, client.get(), result, dir, progress));
  if (result.run.state() == v1::RUN_STATE_COMPLETED) {
    progress->Message(absl::StrCat("run ", id, " is complete already"));
  } else if (result.found) {
    progress->Message(absl::StrCat("going on with run ", id, " from step ",
                                   result.run.committed_step(), " of ", result.run.total_steps(),
                                   result.run.state() == v1::RUN_STATE_FAILED
                                       ? absl::StrCat("; it had failed: ", result.run.reason())
                                       : ""));
  } else {
    progress->Message(absl::StrCat("run ", id, ", ", result.run.total_steps(), " steps; logs in ",
                                   JoinPath(dir, "logs")));
  }
  if (result.found &&
      (result.run.state() == v1::RUN_STATE_PAUSED || result.run.state() == v1::RUN_STATE_FAILED)) {
    ASSIGN_OR_RETURN(result.run,
                     RetryWhileAway(cluster, clock, [&] { return client->ResumeRun(id); }));
  }
  if (!IsTerminal(result.run.state())) {
    // The port is chosen anew for each folder.
    progress->Message(absl::StrCat("look at it from elsewhere: tritterctl --coordinator ",
                                   cluster->address(), " describe ", id,
                                   "; likewise events, logs, get workers"));
    WatchOptions options;
    options.tick = [&] { return cluster->Tick(); };
    options.tell_away = false;  // that it is started again is told
    options.waiting = [&](const v1::Run& run) { return cluster->WaitingFor(run.waiting_cause()); };
    options.begins = result.found;
    if (options.begins) progress->Message("starting");
    absl::StatusOr<v1::Run> end = WatchToEnd(client.get(), clock, id, progress, options);
    if (absl::IsCancelled(end.status())) {
      progress->Finish();
      progress->Message("stopping coordinator and workers");
      cluster->StopWorkers();
      return absl::CancelledError(StoppedWords(client->GetRun(id)));
    }
    if (!end.ok()) return end.status();
    result.run = *std::move(end);
  }
  result.summary = RunSummary(result.run);
  return result;
}

}  // namespace tritter
