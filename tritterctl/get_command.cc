// get runs|workers|checkpoints|epochs, list.
#include "absl/time/time.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

constexpr int kMostRuns = 10000;  // that a coordinator lists

int GetRuns(const CommandContext& context, const std::string& run, int limit) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  v1::ListRunsResponse runs;
  if (!run.empty()) {
    const absl::StatusOr<v1::Run> one = GetRunToRead(client.get(), run);
    if (!one.ok()) return FailServer(one.status());
    *runs.add_runs() = *one;
  } else {
    const absl::StatusOr<v1::ListRunsResponse> all = client->ListRuns(limit);
    if (!all.ok()) return FailServer(all.status());
    runs = *all;
  }
  const bool wide = context.format() == OutputFormat::kWide;
  return PrintAnswer(
      context, ProtoToJson(runs), [&] { return RunsTable(runs, wide); },
      [&] {
        std::string names;
        for (const v1::Run& r : runs.runs()) names += r.run_id() + "\n";
        return names;
      });
}

int GetWorkers(const CommandContext& context) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::ListWorkersResponse> workers = client->ListWorkers();
  if (!workers.ok()) return FailServer(workers.status());
  const bool wide = context.format() == OutputFormat::kWide;
  return PrintAnswer(
      context, ProtoToJson(*workers),
      [&] { return WorkersTable(*workers, absl::ToUnixMillis(context.clock->Now()), wide); },
      [&] {
        std::string names;
        for (const v1::WorkerInfo& w : workers->workers()) names += w.name() + "\n";
        return names;
      });
}

int GetCheckpoints(const CommandContext& context, const std::string& run) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> found = GetRunToRead(client.get(), run);
  if (!found.ok()) return FailServer(found.status());
  const absl::StatusOr<v1::ListCheckpointsResponse> checkpoints =
      client->ListCheckpoints(found->run_id());
  if (!checkpoints.ok()) return FailServer(checkpoints.status());
  const bool wide = context.format() == OutputFormat::kWide;
  return PrintAnswer(
      context, ProtoToJson(*checkpoints), [&] { return CheckpointsTable(*checkpoints, wide); },
      [&] {
        std::string names;
        for (const v1::Checkpoint& c : checkpoints->checkpoints()) names += c.path() + "\n";
        return names;
      });
}

int GetEpochs(const CommandContext& context, const std::string& run, int limit) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> found = GetRunToRead(client.get(), run);
  if (!found.ok()) return FailServer(found.status());
  const absl::StatusOr<v1::ListEpochsResponse> epochs = client->ListEpochs(found->run_id(), limit);
  if (!epochs.ok()) return FailServer(epochs.status());
  const bool wide = context.format() == OutputFormat::kWide;
  return PrintAnswer(
      context, ProtoToJson(*epochs),
      [&] { return EpochsTable(*epochs, absl::ToUnixMillis(context.clock->Now()), wide); },
      [&] {
        std::string numbers;
        for (const v1::Epoch& e : epochs->epochs()) numbers += absl::StrCat(e.epoch(), "\n");
        return numbers;
      });
}

}  // namespace

void AddGetCommand(CommandLine* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  auto limit = std::make_shared<int>(100);
  CommandLine* command = app->AddCommand("get", "list runs, workers, checkpoints or epochs");
  command->RequireCommand();
  CommandLine* runs = command->AddCommand("runs", "runs, newest first");
  runs->AddFlag("run", run.get(), "only this run (id or name)").HideDefault();
  runs->AddFlag("--limit", limit.get(), "at most this many").Between(1, kMostRuns);
  runs->OnCall([=] { context->run = [=] { return GetRuns(*context, *run, *limit); }; });
  command->AddCommand("workers", "workers and what they do")->OnCall([=] {
    context->run = [=] { return GetWorkers(*context); };
  });
  CommandLine* checkpoints =
      command->AddCommand("checkpoints", "committed checkpoints of a run, oldest first");
  checkpoints->AddFlag("run", run.get(), "id or name").Required();
  checkpoints->OnCall([=] { context->run = [=] { return GetCheckpoints(*context, *run); }; });
  // What people type first.
  CommandLine* list = app->AddCommand("list", "runs, newest first: get runs");
  list->AddFlag("--limit", limit.get(), "at most this many").Between(1, kMostRuns);
  list->OnCall([=] { context->run = [=] { return GetRuns(*context, "", *limit); }; });
  auto newest = std::make_shared<int>(100);
  CommandLine* epochs = command->AddCommand(
      "epochs", "groups of workers that trained a run, oldest first, and why each ended");
  epochs->AddFlag("run", run.get(), "id or name").Required();
  epochs->AddFlag("--limit", newest.get(), "the newest so many").Between(1, 1000);
  epochs->OnCall([=] { context->run = [=] { return GetEpochs(*context, *run, *newest); }; });
}

}  // namespace tritter
