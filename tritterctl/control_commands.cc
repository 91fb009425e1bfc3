// pause, resume, cancel, kill.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/progress.h"

namespace tritter {
namespace {

int Answer(const CommandContext& context, const absl::StatusOr<v1::Run>& run) {
  if (!run.ok()) return FailServer(run.status());
  return PrintAnswer(
      context, ProtoToJson(*run),
      [&] {
        return absl::StrCat("run ", RunTitle(*run), " ", ShownState(*run),
                            run->reason().empty() ? "" : ": ", run->reason(), "\n");
      },
      [&] { return run->run_id() + "\n"; });
}

}  // namespace

void AddControlCommands(CommandLine* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  auto now = std::make_shared<bool>(false);
  CommandLine* pause = app->AddCommand("pause", "take a checkpoint and free the workers");
  pause->AddFlag("run", run.get(), "id or name").Required();
  pause->OnCall([=] {
    context->run = [=] { return Answer(*context, context->Coordinator()->PauseRun(*run)); };
  });
  CommandLine* resume =
      app->AddCommand("resume", "go on with a paused or failed run, from its newest checkpoint");
  resume->AddFlag("run", run.get(), "id or name").Required();
  resume->OnCall([=] {
    context->run = [=] { return Answer(*context, context->Coordinator()->ResumeRun(*run)); };
  });
  CommandLine* cancel = app->AddCommand("cancel", "take a checkpoint and end a run for good");
  cancel->AddFlag("run", run.get(), "id or name").Required();
  cancel->AddFlag("--now", now.get(), "without the checkpoint: kill");
  cancel->OnCall([=] {
    context->run = [=] { return Answer(*context, context->Coordinator()->CancelRun(*run, *now)); };
  });
  CommandLine* kill = app->AddCommand(
      "kill",
      "end a run for good at once, whatever it does; steps since its newest checkpoint are lost");
  kill->AddFlag("run", run.get(), "id or name").Required();
  kill->OnCall([=] {
    context->run = [=] { return Answer(*context, context->Coordinator()->CancelRun(*run, true)); };
  });
}

}  // namespace tritter
