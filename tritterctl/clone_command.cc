// clone: a run that begins with a checkpoint of another one, with a configuration of its own.
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/flags.h"
#include "tritterctl/command.h"
#include "tritterctl/exit_codes.h"
#include "tritterctl/named_run.h"
#include "tritterctl/run_file.h"
#include "tritterctl/run_view.h"

namespace tritter {
namespace {

struct CloneArguments {
  std::string run, file, name, weights;
  int64_t steps = 0, from = 0;
  bool weights_only = false;
};

// What the new run is: the file's configuration, or that of the run.
absl::StatusOr<RunSpec> SpecOf(const CommandContext& context, const CloneArguments& a,
                               const v1::Run& base) {
  if (!a.file.empty()) {
    absl::StatusOr<RunFile> file = ReadRunFile(context.env, a.file);
    if (!file.ok()) return file.status();
    return std::move(file->spec);
  }
  absl::StatusOr<RunSpec> spec = ParseRunSpec(base.spec_yaml(), a.run, "/");
  if (!spec.ok()) return spec;
  spec->name = DerivedName(spec->name, "clone");
  spec->after.clear();
  spec->extend_run.clear();
  spec->extend_step = 0;
  spec->clone_weights_only = false;
  spec->clone_weights = RunSpec().clone_weights;
  return spec;
}

// The coordinator speaks of the keys of run.yaml; here flags were typed.
absl::Status InFlags(const absl::Status& refused, const CloneArguments& a) {
  std::string message =
      absl::StrReplaceAll(refused.message(), {{"clone.step: ", "--from: "},
                                              {"clone.run: ", ""},
                                              {"clone.step", "--from"},
                                              {"`clone.weights_only: true`", "--weights-only"},
                                              {"`weights_only: true`", "--weights-only"}});
  if (a.steps > 0) message = absl::StrReplaceAll(message, {{"training.steps is", "--steps is"}});
  absl::Status out(refused.code(), message);
  refused.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { out.SetPayload(type, payload); });
  return out;
}

int Clone(const CommandContext& context, const CloneArguments& a) {
  const std::unique_ptr<RunApi> client = context.Coordinator();
  const absl::StatusOr<v1::Run> base = GetRunToRead(client.get(), a.run);
  if (!base.ok()) return FailServer(base.status());
  absl::StatusOr<RunSpec> spec = SpecOf(context, a, *base);
  if (!spec.ok()) return FailLocal(spec.status());
  if (!IsTraining(*spec)) {
    return FailLocal(absl::InvalidArgumentError(absl::StrCat(
        a.run, ": is a job ", spec->job, ", expected a run that trains: it has checkpoints")));
  }
  if (a.steps > 0) {
    const int64_t decay = spec->steps - spec->schedule.decay_start_step;
    spec->schedule = WithTotalSteps(spec->schedule, a.steps);
    spec->steps = a.steps;
    if (spec->schedule.decay_start_step < spec->schedule.warmup_steps) {
      return FailLocal(absl::InvalidArgumentError(absl::StrCat(
          "--steps: is ", a.steps, ", expected at least ", spec->schedule.warmup_steps + decay,
          ": the warm-up of ", spec->schedule.warmup_steps, " steps and the decay of ", decay,
          " stay; give a file with another learning_rate")));
    }
  }
  spec->clone_run = base->run_id();
  spec->clone_step = a.from;
  spec->clone_weights_only = spec->clone_weights_only || a.weights_only;
  if (!a.weights.empty()) spec->clone_weights = a.weights;
  if (!a.name.empty()) spec->name = a.name;
  v1::SubmitRunRequest request;
  request.set_yaml(CanonicalYaml(*spec));
  request.set_file_name(absl::StrCat("clone of ", a.run));
  request.set_base_dir("/");
  request.set_distinct_name(a.name.empty() && a.file.empty());
  const absl::StatusOr<v1::SubmitRunResponse> answer = client->SubmitRun(request);
  if (!answer.ok()) return FailServer(InFlags(answer.status(), a));
  PrintWarning(*answer);
  const v1::Run& run = answer->run();
  return PrintAnswer(
      context, ProtoToJson(run),
      [&] {
        return absl::StrCat(
            "run ", RunTitle(run), " ", StateName(run.state()), ": begins at step ", run.step(),
            " of ", run.total_steps(), " with the ",
            spec->clone_weights_only ? absl::StrCat(spec->clone_weights, " weights") : "state",
            " of run ", RunTitle(*base), "; ", ScheduleWords(spec->schedule), "\n");
      },
      [&] { return run.run_id() + "\n"; });
}

}  // namespace

void AddCloneCommand(CommandLine* app, CommandContext* context) {
  auto a = std::make_shared<CloneArguments>();
  CommandLine* command = app->AddCommand(
      "clone", "begin a new run with a checkpoint of another one, with other data or schedule");
  command->AddFlag("run", &a->run, "the run whose checkpoint is taken: name or identifier")
      .Required();
  command
      ->AddFlag("--file", &a->file,
                "run.yaml of the new run, of the same model; default: that run's configuration")
      .HideDefault();
  command->AddFlag("--from", &a->from, "step of the checkpoint; default: the newest").HideDefault();
  command
      ->AddFlag("--steps", &a->steps,
                "optimiser steps of the whole new run, with warm-up and decay as long as before")
      .NonNegative()
      .HideDefault();
  command->AddFlag("--weights-only", &a->weights_only,
                   "take nothing but weights and begin at step 0: optimiser, steps and length of "
                   "sequences may be others");
  command
      ->AddFlag("--weights", &a->weights,
                "with --weights-only: averaged (default), as they are exported, or raw")
      .OneOf({"averaged", "raw"})
      .HideDefault();
  command
      ->AddFlag("--name", &a->name,
                "of the new run; default: the old one's and -clone, with a number where another "
                "run has that")
      .HideDefault();
  command->OnCall([=] { context->run = [=] { return Clone(*context, *a); }; });
}

}  // namespace tritter
