// events [RUN]: what happened, oldest first; with --follow what happens.
#include "common/flags.h"
#include "common/shutdown.h"
#include "tritterctl/command.h"
#include "tritterctl/event_feed.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

struct EventsArguments {
  std::string run;
  int limit = 0;
  bool follow = false;
};

std::string Text(OutputFormat format, const v1::Event& event) {
  switch (format) {
    case OutputFormat::kJson:  // one object a line, so that a stream can be read as it comes
      return ProtoToJson(event).dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    case OutputFormat::kName:
      return absl::StrCat(event.id(), "\n");
    default:
      return EventLine(event) + "\n";
  }
}

int Events(const CommandContext& context, EventsArguments a) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  if (!a.run.empty()) {
    const absl::StatusOr<v1::Run> run = GetRunToRead(client.get(), a.run);
    if (!run.ok()) return FailServer(run.status());
    a.run = run->run_id();
  }
  const absl::StatusOr<std::deque<v1::Event>> events =
      NewestEvents(client.get(), a.run, static_cast<size_t>(a.limit));
  if (!events.ok()) return FailServer(events.status());
  if (!a.follow) {
    v1::ListEventsResponse all;
    for (const v1::Event& e : *events) *all.add_events() = e;
    const auto lines = [&](OutputFormat format) {
      std::string out;
      for (const v1::Event& e : *events) out += Text(format, e);
      return out;
    };
    return PrintAnswer(
        context, ProtoToJson(all), [&] { return lines(OutputFormat::kTable); },
        [&] { return lines(OutputFormat::kName); });
  }
  absl::Status written;
  const auto print = [&](const v1::Event& e) {
    if (written.ok()) written = WriteStdout(Text(context.format(), e));
  };
  for (const v1::Event& e : *events) print(e);
  FollowOptions options;
  if (!events->empty()) options.after_id = events->back().id();
  const absl::Status status = FollowEvents(client.get(), context.clock, a.run, options, print,
                                           [&] { return !ShutdownRequested() && written.ok(); });
  if (!written.ok()) return AfterWriting(written, kExitOk);
  if (absl::IsCancelled(status)) return kExitInterrupted;
  return status.ok() ? kExitOk : FailServer(status);
}

}  // namespace

void AddEventsCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<EventsArguments>();
  CommandLine* command = app->AddCommand("events", "what happened to a run, or to all of them");
  command->AddFlag("run", &a->run, "id or name; none: every run and the cluster").HideDefault();
  command->AddFlag("--limit", &a->limit, "only the newest so many; 0 means all")
      .NonNegative()
      .HideDefault();
  command->AddFlag("-f,--follow", &a->follow,
                   "go on with those that happen, until the run ends; without a run for ever");
  command->OnCall([=] { context->run = [=] { return Events(*context, *a); }; });
}

}  // namespace tritter
