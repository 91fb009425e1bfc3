#include "coordinator/decide/extension.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "curation/sample_order.h"

namespace tritter {
namespace {

// What `next` would be if it changed nothing but what it may.
RunSpec Allowed(const RunSpec& base, const RunSpec& next) {
  RunSpec out = base;
  out.name = next.name;
  out.priority = next.priority;
  out.project = next.project;
  out.preemptible = next.preemptible;
  out.steps = next.steps;
  out.schedule = WithTotalSteps(base.schedule, next.steps);
  out.min_workers = next.min_workers;
  out.max_workers = next.max_workers;
  out.device = next.device;
  out.split = next.split;
  out.shard_optimizer = next.shard_optimizer;  // the same bits
  out.checkpoint_every = next.checkpoint_every;
  out.checkpoint_keep = next.checkpoint_keep;
  out.checkpoint_keep_every = next.checkpoint_keep_every;
  out.checkpoint_keep_best = next.checkpoint_keep_best;
  out.evaluate_every = next.evaluate_every;
  out.evaluate_raw = next.evaluate_raw;
  out.sample_prompts = next.sample_prompts;
  out.sample_tokens = next.sample_tokens;
  out.export_format = next.export_format;
  out.export_head = next.export_head;
  out.extend_run = next.extend_run;
  out.extend_step = next.extend_step;
  // How it began has shaped its checkpoint already.
  out.clone_run = next.clone_run;
  out.clone_step = next.clone_step;
  out.clone_weights_only = next.clone_weights_only;
  out.clone_weights = next.clone_weights;
  for (StageSpec& stage : out.stages) {
    if (stage.at_decay) stage.from = next.schedule.decay_start_step;
  }
  for (size_t i = 0; i < std::min(out.sources.size(), next.sources.size()); ++i)
    out.sources[i].max_epochs = next.sources[i].max_epochs;
  return out;
}

absl::Status CheckSame(const RunSpec& base, const RunSpec& next) {
  const std::string want = CanonicalYaml(Allowed(base, next)), got = CanonicalYaml(next);
  if (want == got) return absl::OkStatus();
  const std::vector<std::string> wanted = absl::StrSplit(want, '\n'),
                                 given = absl::StrSplit(got, '\n');
  size_t i = 0;
  while (i + 1 < std::min(wanted.size(), given.size()) && wanted[i] == given[i]) ++i;
  return absl::InvalidArgumentError(absl::StrCat(
      "extend.run: run ", next.extend_run, " has `", absl::StripAsciiWhitespace(wanted[i]),
      "`, this one `", absl::StripAsciiWhitespace(given[i]),
      "`; what is extended keeps all that shapes its training (lengths of warm-up, decay and "
      "ema_window in steps); `tritterctl extend` keeps them"));
}

// The last step up to which a run whose decay begins at `border` trains as one whose decay begins
// elsewhere.
int64_t LastCommonStep(const RunSpec& spec, int64_t border) {
  const bool stage_at_decay = std::any_of(spec.stages.begin(), spec.stages.end(),
                                          [](const StageSpec& s) { return s.at_decay; });
  if (!stage_at_decay) return border;
  // The block of samples that a change of weights cuts is ordered for its shorter length.
  constexpr int64_t kBlock = SampleOrder::kBlockSlots;
  return border * spec.global_batch / kBlock * kBlock / spec.global_batch;
}

}  // namespace

int64_t LastExtensibleStep(const RunSpec& spec) {
  // The last round of all is cut short, and its mean is taken as it is: a longer run has another.
  const int64_t whole = IsOuter(spec) ? spec.steps - 1 : spec.steps;
  return LastCommonStep(spec, std::min(whole, spec.schedule.decay_start_step));
}

absl::StatusOr<std::vector<int64_t>> DecideExtension(const RunSpec& base, const RunSpec& next,
                                                     absl::Span<const int64_t> committed) {
  if (absl::Status same = CheckSame(base, next); !same.ok()) return same;
  const int64_t border = std::min(base.schedule.decay_start_step, next.schedule.decay_start_step);
  const bool moved = base.schedule.decay_start_step != next.schedule.decay_start_step;
  const int64_t last =
      !moved ? std::min(border, next.steps - 1)
             : std::min({LastCommonStep(base, border), LastExtensibleStep(base), next.steps - 1});
  std::vector<int64_t> steps;
  for (const int64_t step : committed) {
    if (step <= last) steps.insert(steps.begin(), step);
  }
  const std::string there = committed.empty() ? "it has no checkpoint"
                                              : absl::StrCat("its checkpoints are of steps ",
                                                             absl::StrJoin(committed, ", "));
  const std::string limit =
      last == next.steps - 1 ? absl::StrCat("with ", next.steps, " steps it would be at its end")
      : last == base.steps - 1 && last < border
          ? "the last round of `sync: outer` is another where more steps follow"
      : next.schedule.decay_start_step < base.schedule.decay_start_step
          ? absl::StrCat("with ", next.steps, " steps the decay begins at step ",
                         next.schedule.decay_start_step)
          : absl::StrCat("its decay phase begins at step ", base.schedule.decay_start_step);
  const std::string samples =
      last < border && last < std::min(next.steps, base.steps) - 1
          ? absl::StrCat(", and the order of its samples depends on that from step ", last, " on")
          : "";
  if (next.extend_step == 0) {
    if (!steps.empty()) return steps;
    // With more steps the decay begins later, behind a checkpoint that is there.
    const int64_t decay = next.steps - next.schedule.decay_start_step;
    for (const int64_t step : committed) {
      if (!moved || step > LastExtensibleStep(base)) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("extend.run: run ", next.extend_run, " has no checkpoint of step ", last,
                       " or before: ", limit, samples, "; ", there, "; from step ", step,
                       " it can be extended to ", step + decay, " steps or more"));
    }
    return absl::FailedPreconditionError(
        absl::StrCat("extend.run: run ", next.extend_run, " has no checkpoint of step ", last,
                     " or before: ", limit, samples, "; ", there,
                     "; train it again with the new number of steps, keeping more checkpoints"));
  }
  if (std::find(committed.begin(), committed.end(), next.extend_step) == committed.end()) {
    return absl::FailedPreconditionError(absl::StrCat("extend.step: run ", next.extend_run,
                                                      " has no checkpoint of step ",
                                                      next.extend_step, "; ", there));
  }
  if (next.extend_step > last) {
    return absl::FailedPreconditionError(absl::StrCat(
        "extend.step: the checkpoint of step ", next.extend_step, " cannot be extended: ", limit,
        samples, "; take one of step ", last, " or before (", there, ")"));
  }
  return std::vector<int64_t>{next.extend_step};
}

}  // namespace tritter
