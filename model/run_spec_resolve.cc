#include "model/run_spec_resolve.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "model/config_problems.h"
#include "model/cuda_limits.h"

namespace tritter {
namespace {

constexpr int64_t kMaxSteps = 1'000'000'000;
constexpr double kWarmupShare = 0.01, kDecayShare = 0.19, kAverageShare = 0.01;

void ResolveName(RunDraft* draft) {
  if (draft->given_name.has_value()) {
    draft->name = *draft->given_name;
    return;
  }
  if (!IsTraining(*draft)) {
    draft->name =
        absl::StrCat(draft->of, "-", draft->job == "export" ? draft->export_format : "serve");
    return;
  }
  draft->name = absl::AsciiStrToLower(draft->model.preset);
  if (draft->name.empty()) draft->name = "run";
}

// Leaves steps at 0 when they cannot be known.
void ResolveSteps(RunMaps* maps, RunDraft* draft) {
  YamlMap& training = maps->training;
  if (!training.Has("steps") && !training.Has("tokens")) {
    training.Error("", "required key is missing: `steps`, or `tokens` instead of it");
    return;
  }
  if (training.Has("steps") && training.Has("tokens")) {
    training.Error("tokens", "steps are given too; give one of the two");
  }
  if (draft->given_steps.has_value()) {
    draft->steps = *draft->given_steps;
  } else if (draft->given_tokens.has_value() && draft->sequence_length > 0) {
    const int64_t per_step = draft->global_batch * draft->sequence_length;
    draft->steps = (*draft->given_tokens - 1) / per_step + 1;
    if (draft->steps > kMaxSteps) {
      training.Error("tokens", absl::StrCat("makes ", draft->steps, " steps of ", per_step,
                                            " tokens, expected at most ", kMaxSteps));
    }
  }
}

int64_t ShareOf(double share, int64_t total) {
  return static_cast<int64_t>(std::llround(share * static_cast<double>(total)));
}

// Steps that were given, or that share of all, at least one.
int64_t InSteps(const std::optional<StepsOrShare>& given, double fallback, int64_t total) {
  if (given.has_value() && !given->share.has_value()) return given->steps;
  const double share = given.has_value() ? *given->share : fallback;
  return share == 0 ? 0 : std::max<int64_t>(1, ShareOf(share, total));
}

// The decimal number a person would write: a tenth of 6e-4 is 6e-5, not 5.9999999999999995e-05.
double Tenth(double value) {
  double tenth = value / 10;
  return absl::SimpleAtod(absl::StrFormat("%.15g", tenth), &tenth) ? tenth : value / 10;
}

// Where the two lengths were both given, they must fit; two shares may each be rounded up.
bool BothTooLong(const RunDraft& d, int64_t warmup, int64_t decay) {
  if (!d.warmup.has_value() || !d.decay.has_value()) return false;
  if (d.warmup->share.has_value() && d.decay->share.has_value()) {
    return *d.warmup->share + *d.decay->share > 1;
  }
  return warmup + decay > d.steps;
}

void ResolveSchedule(RunMaps* maps, RunDraft* d) {
  YamlMap& rates = maps->learning_rate;
  ScheduleSpec& s = d->schedule;
  s.min = d->given_min_rate.value_or(Tenth(s.peak));
  if (s.peak <= 0) rates.Error("peak", absl::StrCat("is ", s.peak, ", expected more than 0"));
  if (s.min < 0) rates.Error("min", absl::StrCat("is ", s.min, ", expected at least 0"));
  if (s.min >= s.peak && s.peak > 0) {
    rates.Error("min", absl::StrCat("is ", s.min, ", expected less than peak, which is ", s.peak));
  }
  const bool no_stable = d->schedule_kind == "no_stable";
  if (no_stable && rates.Has("decay")) {
    rates.Error("decay",
                "has no meaning with schedule no_stable: the decay begins where the warm-up ends");
  }
  if (d->steps == 0) return;

  s.total_steps = d->steps;
  const int64_t warmup = InSteps(d->warmup, kWarmupShare, d->steps);
  const int64_t decay = InSteps(d->decay, kDecayShare, d->steps);
  if (warmup > d->steps) {
    rates.Error("warmup",
                absl::StrCat("is ", warmup, " steps, expected at most training.steps, which is ",
                             d->steps));
  } else if (decay > d->steps) {
    rates.Error(
        "decay",
        absl::StrCat("is ", decay, " steps, expected at most training.steps, which is ", d->steps));
  } else if (BothTooLong(*d, warmup, decay)) {
    rates.Error("decay", absl::StrCat("warm-up of ", warmup, " and decay of ", decay, " steps are ",
                                      warmup + decay,
                                      ", expected at most training.steps, which is ", d->steps));
  }
  s.warmup_steps = std::min(warmup, d->steps);
  s.decay_start_step = no_stable ? s.warmup_steps : std::max(s.warmup_steps, d->steps - decay);
}

// First steps of the stages, once the schedule is known.
void ResolveStages(RunMaps* maps, RunDraft* d) {
  if (d->steps == 0) return;
  for (size_t i = 0; i < d->stages.size(); ++i) {
    StageSpec& stage = d->stages[i];
    if (stage.at_decay) {
      stage.from = d->schedule.decay_start_step;
    } else if (!d->stage_starts[i].has_value()) {
      return;  // said already
    } else {
      const StepsOrShare& from = *d->stage_starts[i];
      stage.from = from.share.has_value() ? ShareOf(*from.share, d->steps) : from.steps;
      if (stage.from >= d->steps) {
        maps->stages[i].Error(
            "from", absl::StrCat("is step ", stage.from,
                                 ", expected less than training.steps, which is ", d->steps));
      }
    }
    // A run may decay from its first step on: then `stable` has none.
    const bool empty_stable = i == 1 && stage.at_decay && stage.from == 0;
    if (i > 0 && stage.from <= d->stages[i - 1].from && !empty_stable) {
      maps->stages[i].Error(
          "from",
          absl::StrCat("the stage begins at step ", stage.from,
                       ", expected later than the one before it, at step ", d->stages[i - 1].from));
    }
  }
}

int64_t DefaultInterval(int64_t steps) {
  return std::min<int64_t>(1000, std::max<int64_t>(1, steps / 10));
}

// What a configuration can say but this version cannot train.
void RefuseUntrainable(YamlMap* model, const ModelConfig& c) {
  const absl::Status trainable = CheckTrainable(c);
  if (trainable.ok()) return;
  model->Error(c.family == Family::kLlama ? "family" : "attention",
               std::string(trainable.message()));
}

void CheckExportHead(YamlMap* root, const RunDraft& d) {
  if (d.export_format == "tpack" || d.export_head == "f32") return;
  root->Error("export",
              absl::StrCat("head is ", d.export_head, ", which is for format tpack, actual format ",
                           d.export_format.empty() ? "none" : d.export_format));
}

// What the run is to end in, said before it has trained.
void CheckExport(YamlMap* root, const RunDraft& d) {
  if (d.export_step != 0) {
    root->Error("export", "step is for job export: a run that trains exports its last step");
  }
  if (d.export_format != "tpack") {
    CheckExportHead(root, d);
    if (!d.export_format.empty()) {
      root->Error("export", absl::StrCat("format ", d.export_format,
                                         " is for a job of its own: use none or "
                                         "tpack here, and submit a run with `job: export`, `of: ",
                                         d.name, "` and this format"));
    }
    return;
  }
  const absl::Status packable = CheckPackable(d.model);
  if (packable.ok()) return;
  root->Error("export", absl::StrCat("format tpack is not for this model: ", packable.message(),
                                     "; use format none"));
}

bool IsRunName(absl::string_view name) {
  const auto plain = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); };
  return !name.empty() && name.size() <= 63 && plain(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return plain(c) || c == '-'; });
}

bool IsSourceName(absl::string_view name) {
  const auto inside = [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && absl::ascii_isalnum(name[0]) &&
         std::all_of(name.begin(), name.end(), inside);
}

void CheckSources(RunMaps* maps, const RunDraft& d) {
  double sum = 0;
  for (size_t i = 0; i < d.sources.size(); ++i) {
    const SourceSpec& source = d.sources[i];
    YamlMap& map = maps->sources[i];
    sum += source.weight;
    if (!map.Has("shards")) continue;  // said already
    if (!IsSourceName(source.name)) {
      map.Error(
          "name",
          absl::StrCat("`", source.name,
                       "` cannot name a source; expected 1 to 64 letters, digits, `.`, `_` or `-`, "
                       "a letter or digit first"));
    }
    for (size_t k = 0; k < i; ++k) {
      if (d.sources[k].name != source.name) continue;
      map.Error("name", absl::StrCat("a source is called `", source.name, "` already (",
                                     maps->sources[k].Where(), "); names must differ"));
      break;
    }
  }
  if (!d.sources.empty() && sum == 0)
    maps->data.Error("sources", "every weight is 0; at least one must be more");
}

void CheckJob(RunMaps* maps, const RunDraft& d) {
  YamlMap& root = maps->root;
  if (d.of.empty()) {
    root.Error("of",
               absl::StrCat("required key is missing: the run that job ", d.job, " works on"));
  }
  if (d.job == "export") {
    if (d.export_format.empty()) {
      root.Error("export", "expected a format: tpack, safetensors, hf or gguf");
    }
    CheckExportHead(&root, d);
  }
  // A plain file name, which takes an ending.
  if (!d.serve_model.empty() && !IsSourceName(d.serve_model)) {
    root.Error("serve", absl::StrCat("model `", d.serve_model,
                                     "` cannot name a model; expected 1 to 64 letters, digits, "
                                     "`.`, `_` or `-`, a letter or digit first"));
  }
}

void CheckSync(RunMaps* maps, const RunDraft& d) {
  YamlMap& training = maps->training;
  if (!IsOuter(d)) {
    if (training.Has("outer"))
      training.Error("outer", absl::StrCat("is for sync outer, actual ", d.sync));
    return;
  }
  if (d.shard_optimizer) {
    training.Error("shard_optimizer",
                   "cannot be true with sync outer, where every worker keeps moments of its own");
  }
}

void CheckStart(YamlMap* root, const RunDraft& d) {
  if (!d.of.empty()) {
    root->Error("of", "is for jobs export and serve; a run that trains names others in `after`");
  }
  if (root->Has("serve")) root->Error("serve", "is for job serve, actual job train");
  if (!d.extend_run.empty() && !d.clone_run.empty()) {
    root->Error("clone", "extend is given too; a run begins with one checkpoint: give one of them");
  }
  if (d.clone_run.empty() && (d.clone_step != 0 || d.clone_weights_only)) {
    root->Error("clone", "required key is missing: `run`");
  }
  if (!d.clone_weights_only && d.clone_weights != "averaged") {
    root->Error("clone", absl::StrCat("weights is ", d.clone_weights,
                                      ", which is for `weights_only: true`: else raw and averaged "
                                      "ones are both taken"));
  }
  if (d.retry_longest_delay < d.retry_delay) {
    root->Error("retry", absl::StrCat("longest_delay is ", d.retry_longest_delay,
                                      ", expected at least delay, which is ", d.retry_delay));
  }
}

}  // namespace

void ResolveDefaults(RunMaps* maps, RunDraft* draft) {
  RunDraft& d = *draft;
  ResolveName(&d);
  if (!IsTraining(d)) return;
  d.max_workers = d.given_max_workers.value_or(d.min_workers);
  if (!maps->training.present()) return;  // said already
  const bool length_is_known =
      d.given_sequence_length.has_value() || !maps->training.Has("sequence_length");
  if (length_is_known) {
    d.sequence_length = d.given_sequence_length.value_or(std::min<int64_t>(1024, d.model.context));
  }
  ResolveSteps(maps, &d);
  ResolveSchedule(maps, &d);
  ResolveStages(maps, &d);
  d.ema_window = std::max<int64_t>(1, InSteps(d.given_ema_window, kAverageShare, d.steps));
  d.checkpoint_every = d.given_checkpoint_every.value_or(DefaultInterval(d.steps));
  d.evaluate_every = d.given_evaluate_every.value_or(DefaultInterval(d.steps));
}

void CheckRun(RunMaps* maps, const RunDraft& d) {
  if (!IsRunName(d.name)) {
    maps->root.Error(
        "name",
        absl::StrCat("`", d.name,
                     "` cannot name a run; expected 1 to 63 characters of a-z, 0-9 and -, a "
                     "letter or digit first"));
  }
  if (!IsRunName(d.project)) {
    maps->root.Error("project", absl::StrCat("`", d.project,
                                             "` cannot name a project; expected 1 to 63 characters "
                                             "of a-z, 0-9 and -, a letter or digit first"));
  }
  if (!IsTraining(d)) return CheckJob(maps, d);
  CheckStart(&maps->root, d);
  CheckSources(maps, d);
  if (d.max_workers < d.min_workers) {
    maps->workers.Error(
        "max", absl::StrCat("is ", d.max_workers, ", expected at least workers.min, which is ",
                            d.min_workers));
  }
  YamlMap& training = maps->training;
  CheckSync(maps, d);
  if (d.global_batch < d.max_workers) {
    training.Error("global_batch",
                   absl::StrCat("is ", d.global_batch, ", expected at least workers.max, which is ",
                                d.max_workers, " (every worker needs a sequence)"));
  }
  if (d.micro_batch > d.global_batch) {
    training.Error("micro_batch",
                   absl::StrCat("is ", d.micro_batch, ", expected at most global_batch, which is ",
                                d.global_batch));
  }
  if (maps->model.present() && FindConfigProblems(d.model).empty()) {
    RefuseUntrainable(&maps->model, d.model);
    CheckExport(&maps->root, d);
    if (const std::optional<std::string> why = NotOnCuda(d);
        (d.device == "cuda" || d.device == "any") && why.has_value()) {
      maps->workers.Error("device",
                          absl::StrCat("GPUs do not train this run: ", *why,
                                       "; use device cpu, or auto, which then takes CPUs"));
    }
    if (d.model.prefix > d.sequence_length) {
      maps->model.Error("prefix", absl::StrCat("is ", d.model.prefix,
                                               ", expected at most training.sequence_length, "
                                               "which is ",
                                               d.sequence_length));
    }
    if (d.sequence_length > d.model.context) {
      training.Error("sequence_length",
                     absl::StrCat("is ", d.sequence_length,
                                  ", expected at most model.context, which is ", d.model.context));
    }
  }
  int64_t tokens = d.global_batch * d.sequence_length;
  if (__builtin_mul_overflow(tokens, d.steps, &tokens)) {
    training.Error("steps", absl::StrCat("steps ", d.steps, " x global_batch ", d.global_batch,
                                         " x sequence_length ", d.sequence_length,
                                         " tokens do not fit 63 bits"));
  }
}

}  // namespace tritter
