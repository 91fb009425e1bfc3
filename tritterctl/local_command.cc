// local: coordinator and workers on this machine, one run, to its end.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/flags.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/local/binaries.h"
#include "tritterctl/local/local_run.h"
#include "tritterctl/run_file.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

struct LocalArguments {
  std::string path, dir, summary, coordinator_binary, worker_binary;
  int workers = 0, threads = 1;
};

absl::StatusOr<LocalClusterOptions> MakeOptions(const CommandContext& context,
                                                const LocalArguments& a, const RunFile& file) {
  LocalClusterOptions options;
  options.dir = AbsolutePath(a.dir.empty() ? absl::StrCat("runs/", file.spec.name) : a.dir);
  options.workers = a.workers > 0 ? a.workers : static_cast<int>(file.spec.max_workers);
  options.threads = a.threads;
  if (options.workers < file.spec.min_workers) {
    return absl::InvalidArgumentError(absl::StrCat("--workers: expected at least ",
                                                   file.spec.min_workers, " (workers.min of ",
                                                   file.path, "), actual ", options.workers));
  }
  if (file.spec.device == "cuda") {
    return absl::InvalidArgumentError(absl::StrCat(
        file.path,
        ": workers.device: expected auto, any or cpu, actual cuda: this build trains on cpu ",
        "only, and the run would wait for ever"));
  }
  ASSIGN_OR_RETURN(const std::string own, OwnFolder());
  ASSIGN_OR_RETURN(options.coordinator_binary,
                   FindBinary(context.env, own, "coordinator", a.coordinator_binary));
  ASSIGN_OR_RETURN(options.worker_binary, FindBinary(context.env, own, "worker", a.worker_binary));
  return options;
}

std::string ShellQuoted(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                              "0123456789_-./:=@%+,") == std::string::npos)
    return word;
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

// How to type the same command again.
// Threads and workers belong to it: with others the weights would not be those of a run that was
// not interrupted.
std::string SameCommand(const CommandContext& context, const LocalArguments& a,
                        const std::string& dir) {
  std::string out =
      absl::StrCat("tritterctl local ", ShellQuoted(a.path), " --dir ", ShellQuoted(dir));
  if (a.workers > 0) absl::StrAppend(&out, " --workers ", a.workers);
  if (a.threads != LocalArguments().threads) absl::StrAppend(&out, " --threads ", a.threads);
  for (const auto& [flag, value] : std::initializer_list<std::pair<const char*, std::string>>{
           {"--summary", a.summary},
           {"--coordinator-binary", a.coordinator_binary},
           {"--worker-binary", a.worker_binary}}) {
    if (!value.empty()) absl::StrAppend(&out, " ", flag, " ", ShellQuoted(value));
  }
  if (context.format() != OutputFormat::kTable) absl::StrAppend(&out, " -o ", context.output);
  return out;
}

int Interrupted(const CommandContext& context, const LocalArguments& a, const std::string& dir,
                const absl::Status& how) {
  const std::string words(how.message() == "interrupted" ? "stopped" : how.message());
  std::fprintf(stderr, "%s. Go on with: %s\n", words.c_str(), SameCommand(context, a, dir).c_str());
  return kExitInterrupted;
}

int Local(const CommandContext& context, const LocalArguments& a) {
  const absl::StatusOr<RunFile> file = ReadRunFile(context.env, a.path);
  if (!file.ok()) return FailLocal(file.status());
  const absl::StatusOr<LocalClusterOptions> options = MakeOptions(context, a, *file);
  if (!options.ok()) return FailLocal(options.status());

  ProgressPrinter progress(context.clock, context.quiet);
  const auto tell = [&](const std::string& text) { progress.Message(text); };
  bool started = false;
  absl::StatusOr<LocalRunResult> result = [&]() -> absl::StatusOr<LocalRunResult> {
    ASSIGN_OR_RETURN(const std::unique_ptr<LocalCluster> cluster,
                     LocalCluster::Start(context.env, context.clock, *options, tell));
    started = true;
    absl::StatusOr<LocalRunResult> out = RunOnCluster(
        cluster.get(), context.connect_coordinator, context.clock, *file, options->dir, &progress);
    progress.Finish();
    cluster->Stop();
    return out;
  }();
  if (!result.ok()) {
    // Another failure stays one, whether or not somebody has also asked to stop.
    if (ShutdownRequested() && absl::IsCancelled(result.status()))
      return Interrupted(context, a, options->dir, result.status());
    const int code = started ? FailServer(result.status()) : FailLocal(result.status());
    const bool refused = absl::IsInvalidArgument(result.status()) ||
                         (!started && absl::IsFailedPrecondition(result.status()));
    if (refused) return code;  // nothing began
    std::fprintf(stderr,
                 "hint: logs are in %s/logs; the same command goes on from the last checkpoint\n",
                 options->dir.c_str());
    return code;
  }
  if (!a.summary.empty()) {
    if (const absl::Status status =
            WriteFileAtomically(context.env, a.summary, FormatJson(result->summary));
        !status.ok())
      return FailLocal(status);
  }
  const bool completed = result->run.state() == v1::RUN_STATE_COMPLETED;
  const int code = PrintAnswer(
      context, result->summary, [&] { return SummaryText(result->run, result->summary); },
      [&] { return result->run.run_id() + "\n"; }, completed ? kExitOk : kExitFailed);
  if (completed) return code;
  std::fprintf(
      stderr,
      "hint: see %s/logs; the same command resumes a failed run, another --dir begins anew\n",
      options->dir.c_str());
  return code;
}

}  // namespace

void AddLocalCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<LocalArguments>();
  CommandLine* command = app->AddCommand("local",
                                         "run coordinator and workers on this machine, train to "
                                         "the end, export; the same command resumes");
  command->AddFlag("run.yaml", &a->path, "the run").Required();
  command->AddFlag("--dir", &a->dir, "folder that holds everything (default: runs/<name>)")
      .HideDefault();
  command->AddFlag("--workers", &a->workers, "worker processes (default: workers.max of the run)")
      .Between(1, 256)
      .HideDefault();
  command
      ->AddFlag("--threads", &a->threads,
                "threads of each worker; weights are bit-exact only for equal threads")
      .Between(1, 1024);
  command->AddFlag("--summary", &a->summary, "also write the summary to this file, as JSON")
      .HideDefault();
  command->AddFlag("--coordinator-binary", &a->coordinator_binary,
                   "program of the coordinator (default: beside this one)");
  command->AddFlag("--worker-binary", &a->worker_binary,
                   "program of the worker (default: beside this one)");
  command->OnCall([=] { context->run = [=] { return Local(*context, *a); }; });
}

}  // namespace tritter
