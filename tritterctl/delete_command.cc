// delete RUN: for good, with its folder.
#include <unistd.h>

#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/progress.h"

namespace tritter {
namespace {

// What would go, in one sentence.
std::string Doomed(const v1::Run& run, const v1::ListCheckpointsResponse& checkpoints) {
  int64_t bytes = 0;
  for (const v1::Checkpoint& c : checkpoints.checkpoints()) bytes += c.bytes();
  for (const v1::Artifact& a : run.artifacts()) bytes += a.bytes();
  const int count = checkpoints.checkpoints_size();
  return absl::StrCat("run ", RunTitle(run), ", ", ShownState(run), ", with ", count,
                      count == 1 ? " checkpoint, " : " checkpoints, ",
                      run.artifacts_size() > 0 ? "its exported files, " : "",
                      FormatBytes(static_cast<double>(bytes)), " in ", run.run_dir());
}

bool Confirmed(const std::string& doomed) {
  std::cerr << "This removes " << doomed << ",\nand its curves, events and log lines. It cannot "
            << "be undone. Delete it? [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  absl::AsciiStrToLower(&answer);
  return answer == "y" || answer == "yes";
}

int Delete(const CommandContext& context, const std::string& name, bool yes) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  // What cannot be deleted is said before anybody is asked.
  const absl::StatusOr<v1::Run> run = client->CheckDeletion(name);
  if (!run.ok()) return FailServer(run.status());
  const absl::StatusOr<v1::ListCheckpointsResponse> checkpoints =
      client->ListCheckpoints(run->run_id());
  if (!checkpoints.ok()) return FailServer(checkpoints.status());
  const std::string doomed = Doomed(*run, *checkpoints);
  if (!yes && isatty(STDIN_FILENO) == 0) {
    return FailLocal(absl::InvalidArgumentError(
        absl::StrCat("would remove ", doomed, "; nobody is there to confirm that: give --yes")));
  }
  if (!yes && !Confirmed(doomed)) {
    return FailLocal(absl::CancelledError(absl::StrCat("run ", RunTitle(*run), " is left alone")));
  }
  // By its id: a newer one of that name may have come while somebody thought about it.
  const absl::StatusOr<v1::DeleteRunResponse> deleted = client->DeleteRun(run->run_id());
  if (!deleted.ok()) return FailServer(deleted.status());
  return PrintAnswer(
      context, ProtoToJson(*deleted), [&] { return absl::StrCat("deleted ", doomed, "\n"); },
      [&] { return deleted->run_id() + "\n"; });
}

}  // namespace

void AddDeleteCommand(CommandLine* app, CommandContext* context) {
  auto run = std::make_shared<std::string>();
  auto yes = std::make_shared<bool>(false);
  CommandLine* command = app->AddCommand(
      "delete", "remove a run that has ended, with its checkpoints, exported files and history");
  command->AddFlag("run", run.get(), "id or name").Required();
  command->AddFlag("-y,--yes", yes.get(), "do not ask");
  command->OnCall([=] { context->run = [=] { return Delete(*context, *run, *yes); }; });
}

}  // namespace tritter
