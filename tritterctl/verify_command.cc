// verify: is this file or folder whole?
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "tritterctl/artifact_check.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"

namespace tritter {
namespace {

int Verify(const CommandContext& context, const std::string& path) {
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
  CommandLine* command =
      app->AddCommand("verify",
                      "read a .tpack, .safetensors, shard, checkpoint or Hugging "
                      "Face folder to its end; exit 1 when damaged");
  command->AddFlag("path", path.get(), "file or folder").Required();
  command->OnCall([=] { context->run = [=] { return Verify(*context, *path); }; });
}

}  // namespace tritter
