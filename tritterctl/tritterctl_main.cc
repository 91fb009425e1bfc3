// tritterctl: the command line of Tritter.
#include <cstdio>

#include "common/flags.h"
#include "common/log.h"
#include "common/shutdown.h"
#include "common/version.h"
#include "tritterctl/access_commands.h"
#include "tritterctl/client_context.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/inference_client.h"
#include "tritterctl/run_client.h"

int main(int argc, char** argv) {
  using namespace tritter;
  InstallShutdownHandlers();
  InitLogging("tritterctl", LogLevel::kWarning);

  CommandLine app("Tritter: train, pack and serve ternary language models", "tritterctl");
  AddVersionFlag(&app);
  app.FlagsOfTheProgramAnywhere();  // -o and --coordinator may stand behind the command
  app.RequireCommand();
  app.AddFooter(
      "Exit codes: 0 ok, 1 the run failed, 2 usage, invalid configuration or not possible "
      "in this state,\n"
      "3 cannot reach the server, 4 server error, 5 not found, 6 denied, 7 timed out, 130 "
      "interrupted.");
  CommandContext context;
  ClientSecurity security;
  std::string client_context;
  // Shown to nobody but the coordinator that was asked for: `local` has one of its own.
  context.connect_coordinator = [&](const std::string& address) {
    return std::make_unique<RunClient>(
        address, address == context.coordinator ? security : ClientSecurity());
  };
  context.connect_inference = [&](const std::string& address) {
    return std::make_unique<InferenceClient>(address, security);
  };
  if (absl::Status s = UseClientContext(context.env, argc, argv); !s.ok()) return FailLocal(s);
  app.AddFlag(
      "--coordinator", &context.coordinator,
      "address of the coordinator, host:port; of several that share a store: a:7070,b:7070");
  app.AddFlag("-o,--output", &context.output, "table, wide, json, yaml or name")
      .OneOf({"table", "wide", "json", "yaml", "name"});
  app.AddFlag("-q,--quiet", &context.quiet, "no progress on stderr");

  AddClientSecurityFlags(&app, &client_context, &security);

  AddCurateCommand(&app, &context);
  AddValidateCommand(&app, &context);
  AddPlanCommand(&app, &context);
  AddSubmitCommand(&app, &context);
  AddExtendCommand(&app, &context);
  AddCloneCommand(&app, &context);
  AddGetCommand(&app, &context);
  AddDescribeCommand(&app, &context);
  AddLogsCommand(&app, &context);
  AddEventsCommand(&app, &context);
  AddWaitCommand(&app, &context);
  AddControlCommands(&app, &context);
  AddDeleteCommand(&app, &context);
  AddExportCommand(&app, &context);
  AddConvertCommand(&app, &context);
  AddImportCommand(&app, &context);
  AddVerifyCommand(&app, &context);
  AddGenerateCommand(&app, &context);
  AddChatCommand(&app, &context);
  AddBenchCommand(&app, &context);
  AddScoreCommand(&app, &context);
  AddAccessCommands(&app, &context, &security);
  AddLocalCommand(&app, &context);
  if (const std::optional<int> exit_code = ParseFlags(&app, argc, argv)) return *exit_code;
  ForgetClientEnvironment();
  if (absl::Status s = CheckClientSecurity(context.env, security, context.clock->Now()); !s.ok())
    return FailLocal(s);
  return context.run ? context.run() : kExitUsageError;
}
