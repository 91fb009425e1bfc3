// wait RUN: until it ends.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/run_view.h"
#include "tritterctl/watch.h"

namespace tritter {
namespace {

int Wait(const CommandContext& context, const std::string& run, double timeout_seconds) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  // Asked once first: an unknown run or an absent server is told at once.
  const absl::StatusOr<v1::Run> now = GetRunToRead(client.get(), run);
  if (!now.ok()) return FailServer(now.status());
  ProgressPrinter progress(context.clock, context.quiet);
  WatchOptions options;
  if (timeout_seconds > 0) options.timeout = absl::Seconds(timeout_seconds);
  const absl::StatusOr<v1::Run> end =
      WatchToEnd(client.get(), context.clock, now->run_id(), &progress, options);
  progress.Finish();
  if (!end.ok()) return FailServer(end.status());
  return PrintAnswer(
      context, ProtoToJson(*end),
      [&] {
        return absl::StrCat("run ", RunTitle(*end), " ", StateName(end->state()),
                            end->reason().empty() ? "" : ": ", end->reason(), "\n");
      },
      [&] { return end->run_id() + "\n"; }, RunExitCode(*end));
}

}  // namespace

void AddWaitCommand(CommandLine* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  auto timeout = std::make_shared<double>(0);
  CommandLine* command = app->AddCommand(
      "wait", "show progress until the run ends; exit 1 when it failed or was cancelled");
  command->AddFlag("run", run.get(), "id or name").Required();
  command->AddFlag("--timeout", timeout.get(), "seconds; then exit 7; 0 means for ever")
      .NonNegative()
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return Wait(*context, *run, *timeout); }; });
}

}  // namespace tritter
