// What every command gets, and the list of commands. Each command is one file with one Add…Command
// function: it describes its arguments and leaves the work in `run`, which main calls once the
// command line is understood.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/env.h"
#include "common/flags.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/inference_api.h"
#include "tritterctl/output.h"
#include "tritterctl/run_api.h"

namespace tritter {

struct CommandContext {
  Env* env = Env::Real();
  Clock* clock = Clock::Real();
  RunApiFactory connect_coordinator;  // handed in by main, so that commands know no gRPC
  InferenceApiFactory connect_inference;
  std::string coordinator = "127.0.0.1:7070";  // --coordinator
  std::string output = "table";                // --output
  bool quiet = false;                          // --quiet: no progress
  std::function<int()> run;                    // gives the exit code

  std::unique_ptr<RunApi> Coordinator() const { return connect_coordinator(coordinator); }
  OutputFormat format() const { return *ParseOutputFormat(output); }  // checked by the command line
  bool for_people() const {
    return format() == OutputFormat::kTable || format() == OutputFormat::kWide;
  }
};

// Writes one answer (FormatAnswer) and gives the exit code: `code` when that went well.
template <typename TableFn, typename NameFn>
int PrintAnswer(const CommandContext& context, const OrderedJson& json, TableFn table, NameFn names,
                int code = kExitOk) {
  return AfterWriting(WriteStdout(FormatAnswer(context.format(), json, table, names)), code);
}

void AddCurateCommand(CommandLine* app, CommandContext* context);
void AddValidateCommand(CommandLine* app, CommandContext* context);
void AddPlanCommand(CommandLine* app, CommandContext* context);
void AddSubmitCommand(CommandLine* app, CommandContext* context);
void AddExtendCommand(CommandLine* app, CommandContext* context);
void AddCloneCommand(CommandLine* app, CommandContext* context);
void AddGetCommand(CommandLine* app, CommandContext* context);
void AddDescribeCommand(CommandLine* app, CommandContext* context);
void AddLogsCommand(CommandLine* app, CommandContext* context);
void AddEventsCommand(CommandLine* app, CommandContext* context);
void AddWaitCommand(CommandLine* app, CommandContext* context);
void AddControlCommands(CommandLine* app, CommandContext* context);  // pause, resume, cancel, kill
void AddDeleteCommand(CommandLine* app, CommandContext* context);
void AddExportCommand(CommandLine* app, CommandContext* context);
void AddConvertCommand(CommandLine* app, CommandContext* context);
void AddImportCommand(CommandLine* app, CommandContext* context);
void AddVerifyCommand(CommandLine* app, CommandContext* context);
void AddGenerateCommand(CommandLine* app, CommandContext* context);
void AddChatCommand(CommandLine* app, CommandContext* context);
void AddBenchCommand(CommandLine* app, CommandContext* context);
void AddBenchKernelsCommand(CommandLine* bench, CommandContext* context);
void AddScoreCommand(CommandLine* app, CommandContext* context);
void AddLocalCommand(CommandLine* app, CommandContext* context);

}  // namespace tritter
