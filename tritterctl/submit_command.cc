// submit: hand a run to the coordinator, and wait for its end when asked.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/run_file.h"
#include "tritterctl/run_view.h"
#include "tritterctl/watch.h"

namespace tritter {
namespace {

struct SubmitArguments {
  std::string path, key;
  bool wait = false;
};

int Submit(const CommandContext& context, const SubmitArguments& arguments) {
  const absl::StatusOr<RunFile> file = ReadRunFile(context.env, arguments.path);
  if (!file.ok()) return FailLocal(file.status());
  const std::unique_ptr<RunApi> client = context.Coordinator();
  v1::SubmitRunRequest request;
  request.set_yaml(file->yaml);
  request.set_file_name(arguments.path);
  request.set_base_dir(file->base_dir);
  request.set_idempotency_key(arguments.key);
  const absl::StatusOr<v1::SubmitRunResponse> answer = client->SubmitRun(request);
  if (!answer.ok()) return FailServer(answer.status());
  v1::Run run = answer->run();
  if (answer->repeated())
    std::fprintf(stderr, "this key was submitted before: run %s is %s\n", RunTitle(run).c_str(),
                 StateName(run.state()).c_str());
  PrintWarning(*answer);
  int code = kExitOk;
  if (arguments.wait) {
    std::fprintf(stderr, "submitted %s\n", RunTitle(run).c_str());
    ProgressPrinter progress(context.clock, context.quiet);
    const absl::StatusOr<v1::Run> end =
        WatchToEnd(client.get(), context.clock, run.run_id(), &progress, WatchOptions());
    progress.Finish();
    if (!end.ok()) {
      std::fprintf(stderr, "the run goes on; follow it with: tritterctl wait %s\n",
                   run.run_id().c_str());
      return FailServer(end.status());
    }
    run = *end;
    code = RunExitCode(run);
  }
  return PrintAnswer(
      context, ProtoToJson(run),
      [&] {
        return absl::StrCat("run ", RunTitle(run), " ", StateName(run.state()),
                            run.reason().empty() ? "" : ": ", run.reason(), "\n");
      },
      [&] { return run.run_id() + "\n"; }, code);
}

}  // namespace

void AddSubmitCommand(CommandLine* app, CommandContext* context) {
  auto arguments = std::make_shared<SubmitArguments>();
  CommandLine* command = app->AddCommand("submit", "hand a run to the coordinator");
  command->AddFlag("run.yaml", &arguments->path, "the run").Required();
  command->AddFlag("--wait", &arguments->wait,
                   "show progress until the run ends; exit 1 when it fails");
  command
      ->AddFlag("--idempotency-key", &arguments->key,
                "the same key gives the same run, however often it is submitted")
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return Submit(*context, *arguments); }; });
}

}  // namespace tritter
