// validate: is this run.yaml right, here and (when a coordinator is named) there?
#include "absl/strings/str_format.h"
#include "common/flags.h"
#include "model/parameter_groups.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/run_file.h"

namespace tritter {
namespace {

OrderedJson GroupsJson(const std::vector<GroupSummary>& groups) {
  OrderedJson json = OrderedJson::array();
  for (const GroupSummary& g : groups) {
    json.push_back({{"group", g.group.name},
                    {"optimizer", OptimizerKindName(g.group.optimizer)},
                    {"weight_decay", g.group.weight_decay},
                    {"rate_factor", g.group.rate_factor},
                    {"tensors", g.tensors},
                    {"parameters", g.parameters}});
  }
  return json;
}

std::string GroupsText(const std::vector<GroupSummary>& groups) {
  std::vector<std::vector<std::string>> rows;
  for (const GroupSummary& g : groups) {
    rows.push_back({g.group.name, OptimizerKindName(g.group.optimizer),
                    absl::StrFormat("%g", g.group.weight_decay),
                    absl::StrFormat("%.3g", g.group.rate_factor), absl::StrFormat("%d", g.tensors),
                    absl::StrFormat("%d", g.parameters)});
  }
  return FormatTable({"GROUP", "OPTIMIZER", "WEIGHT DECAY", "RATE FACTOR", "TENSORS", "PARAMETERS"},
                     rows);
}

int Validate(const CommandContext& context, const std::string& path, bool ask_server,
             bool show_groups) {
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
    if (ServerExitCode(answer.status()) == kExitUnreachable)
      std::fprintf(stderr, "%s: valid, as far as can be told here\n", path.c_str());
    if (!answer.ok()) {
      const int code = FailServer(answer.status());
      if (code == kExitUnreachable) {
        std::fprintf(stderr,
                     "hint: it was to check the file too; without --coordinator and "
                     "TRITTER_COORDINATOR it is checked here alone\n");
      }
      return code;
    }
    effective = answer->spec_yaml();
  }
  const std::vector<GroupSummary> groups = SummariseGroups(file->spec);
  const OrderedJson json = {{"valid", true},
                            {"name", file->spec.name},
                            {"checked_by", ask_server ? "coordinator" : "tritterctl"},
                            {"spec_yaml", effective},
                            {"parameter_groups", GroupsJson(groups)}};
  const int code = PrintAnswer(
      context, json, [&] { return show_groups ? GroupsText(groups) : effective; },
      [&] { return file->spec.name + "\n"; });
  if (code == kExitOk && context.for_people()) {
    std::fprintf(
        stderr, "%s: valid; above, %s\n", path.c_str(),
        show_groups ? "how each group of parameters is trained" : "every default resolved");
  }
  return code;
}

}  // namespace

void AddValidateCommand(CommandLine* app, CommandContext* context) {
  auto path = std::make_shared<std::string>();
  CommandLine* command = app->AddCommand(
      "validate",
      "check a run.yaml and print it with every default resolved; with --coordinator, also there");
  command->AddFlag("run.yaml", path.get(), "the run").Required();
  auto groups = std::make_shared<bool>(false);
  command->AddFlag("--groups", groups.get(),
                   "print how each group of parameters is trained instead");
  command->OnCall([=] {
    // Given on the command line or by its twin: then the coordinator is asked, too.
    const bool ask_server = app->IsGiven("--coordinator");
    context->run = [=] { return Validate(*context, *path, ask_server, *groups); };
  });
}

}  // namespace tritter
