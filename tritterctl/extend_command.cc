// extend: a run with another number of steps that goes on from a checkpoint of an earlier one.
#include "absl/strings/str_cat.h"
#include "common/flags.h"
#include "model/run_spec.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/proto_json.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

struct ExtendArguments {
  std::string run, name;
  int64_t steps = 0, from = 0;
  double max_epochs = 0;
};

int Extend(const CommandContext& context, const ExtendArguments& a) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> base = client->GetRunToChange(a.run);
  if (!base.ok()) return FailServer(base.status());
  absl::StatusOr<RunSpec> spec = ParseRunSpec(base->spec_yaml(), a.run, "/");
  if (!spec.ok()) return FailLocal(spec.status());
  const int64_t warmup = spec->schedule.warmup_steps;
  spec->schedule = WithTotalSteps(spec->schedule, a.steps);
  spec->steps = a.steps;
  if (spec->schedule.decay_start_step < warmup) {
    return FailLocal(absl::InvalidArgumentError(absl::StrCat(
        "--steps: is ", a.steps, ", expected at least ",
        warmup + a.steps - spec->schedule.decay_start_step, ": the warm-up of ", warmup,
        " steps and the decay of ", a.steps - spec->schedule.decay_start_step, " stay")));
  }
  spec->clone_run.clear();  // how that one began
  spec->clone_step = 0;
  spec->clone_weights_only = false;
  spec->clone_weights = RunSpec().clone_weights;
  spec->extend_run = base->run_id();
  spec->extend_step = a.from;
  spec->name = a.name.empty() ? DerivedName(spec->name, "extended") : a.name;
  for (SourceSpec& source : spec->sources) {
    if (a.max_epochs > 0) source.max_epochs = a.max_epochs;
  }
  v1::SubmitRunRequest request;
  request.set_yaml(CanonicalYaml(*spec));
  request.set_file_name(absl::StrCat("extension of ", a.run));
  request.set_base_dir("/");
  request.set_distinct_name(a.name.empty());
  const absl::StatusOr<v1::SubmitRunResponse> answer = client->SubmitRun(request);
  if (!answer.ok()) return FailServer(answer.status());
  PrintWarning(*answer);
  const v1::Run& run = answer->run();
  return PrintAnswer(
      context, ProtoToJson(run),
      [&] {
        return absl::StrCat("run ", RunTitle(run), " ", StateName(run.state()),
                            ": goes on at step ", run.committed_step(), " of ", run.total_steps(),
                            " with the state of run ", RunTitle(*base), "; ",
                            ScheduleWords(spec->schedule), ", as long as there\n");
      },
      [&] { return run.run_id() + "\n"; });
}

}  // namespace

void AddExtendCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<ExtendArguments>();
  CommandLine* command = app->AddCommand(
      "extend",
      "go on from a checkpoint of a run's stable phase with another number of steps, as a new run");
  command->AddFlag("run", &a->run, "the run: name or identifier").Required();
  command->AddFlag("--steps", &a->steps, "optimiser steps of the whole new run").Required();
  command->AddFlag("--from", &a->from, "step of the checkpoint; default: the newest possible")
      .HideDefault();
  command
      ->AddFlag("--max-epochs", &a->max_epochs,
                "of every source; default: the old run's, which more steps may exceed")
      .HideDefault();
  command
      ->AddFlag("--name", &a->name,
                "of the new run; default: the old one's and -extended, with a number where another "
                "run has that")
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return Extend(*context, *a); }; });
}

}  // namespace tritter
