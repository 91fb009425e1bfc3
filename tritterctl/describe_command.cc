// describe RUN: everything about it.
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/event_feed.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

constexpr int kEventsShown = 20;
constexpr int kEpochsShown = 10;

int Describe(const CommandContext& context, const std::string& name) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> run = GetRunToRead(client.get(), name);
  if (!run.ok()) return FailServer(run.status());
  const absl::StatusOr<v1::ListCheckpointsResponse> checkpoints =
      client->ListCheckpoints(run->run_id());
  if (!checkpoints.ok()) return FailServer(checkpoints.status());
  const absl::StatusOr<std::deque<v1::Event>> newest =
      NewestEvents(client.get(), run->run_id(), kEventsShown);
  if (!newest.ok()) return FailServer(newest.status());
  v1::ListEventsResponse events;
  for (const v1::Event& e : *newest) *events.add_events() = e;
  const absl::StatusOr<v1::ListEpochsResponse> epochs =
      client->ListEpochs(run->run_id(), kEpochsShown);
  if (!epochs.ok()) return FailServer(epochs.status());
  OrderedJson json = {{"run", ProtoToJson(*run)}};
  json["checkpoints"] = ProtoToJson(*checkpoints)["checkpoints"];
  json["epochs"] = ProtoToJson(*epochs)["epochs"];
  json["events"] = ProtoToJson(events)["events"];
  return PrintAnswer(
      context, json,
      [&] {
        return DescribeRun(*run, *checkpoints, events, *epochs,
                           absl::ToUnixMillis(context.clock->Now()),
                           context.format() == OutputFormat::kWide);
      },
      [&] { return run->run_id() + "\n"; });
}

}  // namespace

void AddDescribeCommand(CommandLine* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  CommandLine* command = app->AddCommand("describe",
                                         "everything about a run: state and reason, what failed, "
                                         "figures, epochs, checkpoints, events "
                                         "(-o wide: also its configuration and the log lines of "
                                         "a failure that is over)");
  command->AddFlag("run", run.get(), "id or name").Required();
  command->OnCall([=] { context->run = [=] { return Describe(*context, *run); }; });
}

}  // namespace tritter
