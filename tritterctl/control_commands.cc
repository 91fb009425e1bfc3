// pause, resume, cancel.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

int Answer(const CommandContext& context, const absl::StatusOr<v1::Run>& run) {
  if (!run.ok()) return FailServer(run.status());
  return PrintAnswer(
      context, ProtoToJson(*run),
      [&] {
        return absl::StrCat("run ", run->run_id(), " ", StateName(run->state()),
                            run->reason().empty() ? "" : ": ", run->reason(), "\n");
      },
      [&] { return run->run_id() + "\n"; });
}

}  // namespace

void AddControlCommands(CLI::App* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  auto now = std::make_shared<bool>(false);
  CLI::App* pause = app->add_subcommand("pause", "take a checkpoint and free the workers");
  pause->add_option("run", *run, "id or name")->required();
  pause->callback([=] {
    context->run = [=] { return Answer(*context, context->Coordinator()->PauseRun(*run)); };
  });
  CLI::App* resume = app->add_subcommand(
      "resume", "go on with a paused or failed run, from its newest checkpoint");
  resume->add_option("run", *run, "id or name")->required();
  resume->callback([=] {
    context->run = [=] { return Answer(*context, context->Coordinator()->ResumeRun(*run)); };
  });
  CLI::App* cancel = app->add_subcommand("cancel", "take a checkpoint and end a run for good");
  cancel->add_option("run", *run, "id or name")->required();
  cancel->add_flag("--now", *now, "without the checkpoint");
  cancel->callback([=] {
    context->run = [=] { return Answer(*context, context->Coordinator()->CancelRun(*run, *now)); };
  });
}

}  // namespace tritter
