// events [RUN]: what happened, oldest first.
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

int Events(const CommandContext& context, const std::string& run, int limit) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  v1::ListEventsRequest request;
  request.set_run(run);
  request.set_limit(limit);
  const absl::StatusOr<v1::ListEventsResponse> events = client->ListEvents(request);
  if (!events.ok()) return FailServer(events.status());
  return PrintAnswer(
      context, ProtoToJson(*events),
      [&] {
        std::string lines;
        for (const v1::Event& e : events->events()) lines += EventLine(e) + "\n";
        return lines;
      },
      [&] {
        std::string ids;
        for (const v1::Event& e : events->events()) ids += absl::StrCat(e.id(), "\n");
        return ids;
      });
}

}  // namespace

void AddEventsCommand(CommandLine* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  auto limit = std::make_shared<int>(0);
  CommandLine* command = app->AddCommand("events", "what happened to a run, or to all of them");
  command->AddFlag("run", run.get(), "id or name; none: every run and the cluster").HideDefault();
  command->AddFlag("--limit", limit.get(), "at most this many; 0 means the server's choice")
      .NonNegative()
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return Events(*context, *run, *limit); }; });
}

}  // namespace tritter
