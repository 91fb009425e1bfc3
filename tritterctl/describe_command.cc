// describe RUN: everything about it.
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

constexpr int kEventsShown = 20;

int Describe(const CommandContext& context, const std::string& name) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> run = client->GetRun(name);
  if (!run.ok()) return FailServer(run.status());
  const absl::StatusOr<v1::ListCheckpointsResponse> checkpoints =
      client->ListCheckpoints(run->run_id());
  if (!checkpoints.ok()) return FailServer(checkpoints.status());
  v1::ListEventsRequest request;
  request.set_run(run->run_id());
  absl::StatusOr<v1::ListEventsResponse> events = client->ListEvents(request);
  if (!events.ok()) return FailServer(events.status());
  if (const int extra = events->events_size() - kEventsShown; extra > 0)
    events->mutable_events()->DeleteSubrange(0, extra);
  OrderedJson json = {{"run", ProtoToJson(*run)}};
  json["checkpoints"] = ProtoToJson(*checkpoints)["checkpoints"];
  json["events"] = ProtoToJson(*events)["events"];
  return PrintAnswer(
      context, json, [&] { return DescribeRun(*run, *checkpoints, *events); },
      [&] { return run->run_id() + "\n"; });
}

}  // namespace

void AddDescribeCommand(CommandLine* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  CommandLine* command = app->AddCommand(
      "describe",
      "everything about a run: state and reason, figures, checkpoints, events, configuration");
  command->AddFlag("run", run.get(), "id or name").Required();
  command->OnCall([=] { context->run = [=] { return Describe(*context, *run); }; });
}

}  // namespace tritter
