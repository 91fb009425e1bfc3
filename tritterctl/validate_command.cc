// validate: is this run.yaml right, here and (when a coordinator is named) there?
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_file.h"

namespace tritter {
namespace {

int Validate(const CommandContext& context, const std::string& path, bool ask_server) {
  const absl::StatusOr<RunFile> file = ReadRunFile(context.env, path);
  if (!file.ok()) return FailLocal(file.status());
  std::string effective = CanonicalYaml(file->spec);
  if (ask_server) {
    const std::unique_ptr<RunApi> client = context.Coordinator();
    v1::ValidateRunRequest request;
    request.set_yaml(file->yaml);
    request.set_file_name(path);
    request.set_base_dir(file->base_dir);
    const absl::StatusOr<v1::ValidateRunResponse> answer = client->ValidateRun(request);
    if (!answer.ok()) return FailServer(answer.status());
    effective = answer->spec_yaml();
  }
  const OrderedJson json = {{"valid", true},
                            {"name", file->spec.name},
                            {"checked_by", ask_server ? "coordinator" : "tritterctl"},
                            {"spec_yaml", effective}};
  const int code =
      PrintAnswer(context, json, [&] { return effective; }, [&] { return file->spec.name + "\n"; });
  if (code == kExitOk && context.for_people())
    std::fprintf(stderr, "%s: valid; above, every default resolved\n", path.c_str());
  return code;
}

}  // namespace

void AddValidateCommand(CommandLine* app, CommandContext* context) {
  auto path = std::make_shared<std::string>();
  CommandLine* command = app->AddCommand(
      "validate",
      "check a run.yaml and print it with every default resolved; with --coordinator, also there");
  command->AddFlag("run.yaml", path.get(), "the run").Required();
  command->OnCall([=] {
    // Given on the command line or by its twin: then the coordinator is asked, too.
    const bool ask_server = app->IsGiven("--coordinator");
    context->run = [=] { return Validate(*context, *path, ask_server); };
  });
}

}  // namespace tritter
