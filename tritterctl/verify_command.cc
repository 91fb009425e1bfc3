// verify: is this file, folder or run whole?
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "tritterctl/artifact_check.h"
#include "tritterctl/checkpoint_check.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"

namespace tritter {
namespace {

int VerifyRunFolder(const CommandContext& context, const std::string& path,
                    const std::string& run_dir, const std::vector<v1::Checkpoint>& recorded) {
  const absl::StatusOr<std::vector<CheckpointCheck>> checks =
      CheckRun(context.env, run_dir, recorded);
  if (!checks.ok()) return FailLocal(checks.status());
  return PrintAnswer(
      context, RunCheckJson(path, *checks), [&] { return RunCheckText(*checks); },
      [&] { return path + "\n"; }, AllValid(*checks) ? kExitOk : kExitFailed);
}

// By id or name: where its checkpoints lie and what they were says the coordinator.
int VerifyRun(const CommandContext& context, const std::string& name) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> run = GetRunToRead(client.get(), name);
  if (!run.ok()) return FailServer(run.status());
  const absl::StatusOr<v1::ListCheckpointsResponse> list = client->ListCheckpoints(run->run_id());
  if (!list.ok()) return FailServer(list.status());
  if (!context.env->IsDirectory(run->run_dir())) {
    return FailLocal(absl::NotFoundError(
        absl::StrCat(run->run_dir(),
                     ": not visible from this machine; run verify where the run's folder is "
                     "mounted")));
  }
  return VerifyRunFolder(context, name, run->run_dir(),
                         {list->checkpoints().begin(), list->checkpoints().end()});
}

int Verify(const CommandContext& context, const std::string& path) {
  if (!context.env->Exists(path) && !absl::StrContains(path, '/') && !absl::StrContains(path, '.'))
    return VerifyRun(context, path);
  if (context.env->IsDirectory(path)) {
    if (IsCheckpointFolder(context.env, path)) {
      const CheckpointCheck check = CheckCheckpointFolder(context.env, path);
      return PrintAnswer(
          context, CheckpointCheckJson(check), [&] { return CheckpointCheckText(check); },
          [&] { return path + "\n"; }, check.valid() ? kExitOk : kExitFailed);
    }
    if (const std::optional<std::string> run_dir = FindRunFolder(context.env, path))
      return VerifyRunFolder(context, path, *run_dir, {});
  }
  const absl::StatusOr<ArtifactCheck> check = CheckArtifact(context.env, path);
  if (!check.ok()) return FailLocal(check.status());
  OrderedJson json = {{"path", path}, {"kind", check->kind}, {"valid", true}};
  json.update(check->facts);
  return PrintAnswer(
      context, json,
      [&] { return absl::StrCat(path, ": valid ", check->kind, ": ", check->summary, "\n"); },
      [&] { return path + "\n"; });
}

}  // namespace

void AddVerifyCommand(CommandLine* app, CommandContext* context) {
  auto path = std::make_shared<std::string>();
  CommandLine* command = app->AddCommand(
      "verify",
      "read a .tpack, GGUF, .safetensors, shards, checkpoint or Hugging Face folder or "
      "all checkpoints of a run to the end; exit 1 when damaged");
  command->AddFlag("path", path.get(), "file or folder, or a run (its folder, id or name)")
      .Required();
  command->OnCall([=] { context->run = [=] { return Verify(*context, *path); }; });
}

}  // namespace tritter
