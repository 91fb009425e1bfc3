// logs RUN: the log lines of its workers.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "common/shutdown.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/log_feed.h"
#include "tritterctl/named_run.h"

namespace tritter {
namespace {

int Logs(const CommandContext& context, v1::StreamLogsRequest request) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> run = GetRunToRead(client.get(), request.run());
  if (!run.ok()) return FailServer(run.status());
  request.set_run(run->run_id());
  absl::Status written;
  const auto print = [&](const v1::LogLine& line) {
    if (!written.ok()) return;
    // One JSON object a line, so that a stream can be read as it comes.
    written = context.format() == OutputFormat::kJson
                  ? WriteStdout(ProtoToJson(line).dump(-1, ' ', false,
                                                       OrderedJson::error_handler_t::replace) +
                                "\n")
                  : WriteStdout(absl::StrCat(FormatTimeMs(line.time_ms()), " ", line.worker(), " ",
                                             line.line(), "\n"));
  };
  const auto tick = [&] { return !ShutdownRequested() && written.ok(); };
  const absl::Status status =
      request.follow()
          ? FollowLogs(client.get(), context.clock, request.run(),
                       {.worker = request.worker(), .tail = request.tail()}, print, tick)
          : client->StreamLogs(request, print, tick);
  if (!written.ok()) return AfterWriting(written, kExitOk);
  if (!status.ok())
    return status.code() == absl::StatusCode::kCancelled ? kExitInterrupted : FailServer(status);
  return kExitOk;
}

}  // namespace

void AddLogsCommand(CommandLine* app, CommandContext* context) {
  auto request = std::make_shared<v1::StreamLogsRequest>();
  auto run = std::make_shared<std::string>();
  auto worker = std::make_shared<std::string>();
  auto follow = std::make_shared<bool>(false);
  auto tail = std::make_shared<int>(0);
  CommandLine* command = app->AddCommand("logs", "log lines of a run's workers");
  command->AddFlag("run", run.get(), "id or name").Required();
  command->AddFlag("-f,--follow", follow.get(), "go on until the run ends");
  command->AddFlag("--worker", worker.get(), "only lines of this one").HideDefault();
  command
      ->AddFlag("--tail", tail.get(),
                "only the newest so many, of all workers; 0 means all that are kept")
      .NonNegative()
      .HideDefault();
  command->OnCall([=] {
    request->set_run(*run);
    request->set_worker(*worker);
    request->set_follow(*follow);
    request->set_tail(*tail);
    context->run = [=] { return Logs(*context, *request); };
  });
}

}  // namespace tritter
