#include "model/run_spec_keys.h"

#include <algorithm>
#include <map>
#include <utility>

#include "model/cuda_limits.h"
#include "model/data_mix.h"

namespace tritter {
namespace {

using Fields = std::vector<YamlField<RunDraft>>;

constexpr size_t kMaxAfter = 64;

// One of `available`; a word of `planned` is refused with what to do instead.
YamlField<RunDraft> ChoiceField(std::string key, std::string RunDraft::* member,
                                std::vector<std::string> available,
                                std::map<std::string, std::string> planned, std::string fallback,
                                std::string meaning) {
  std::string type = absl::StrCat("one of ", absl::StrJoin(available, ", "));
  return {key, std::move(type), std::move(fallback), std::move(meaning),
          [=](YamlMap* map, RunDraft* out) {
            std::vector<absl::string_view> choices(available.begin(), available.end());
            for (const auto& [word, instead] : planned) choices.push_back(word);
            std::string value;
            if (!map->GetChoice(key, choices, &value)) return;
            const auto refused = planned.find(value);
            if (refused == planned.end()) {
              out->*member = value;
            } else {
              map->Error(key,
                         absl::StrCat("`", value, "` is not available yet; ", refused->second));
            }
          }};
}

YamlField<RunDraft> StepsField(std::string key, std::optional<StepsOrShare> RunDraft::* member,
                               std::string fallback, std::string meaning) {
  return {key, "steps, or a percentage of all steps", std::move(fallback), std::move(meaning),
          [=](YamlMap* map, RunDraft* out) {
            StepsOrShare value;
            if (map->GetCountOrPercent(key, &value.steps, &value.share)) out->*member = value;
          }};
}

// Numbers that must be positive, or less than one, beyond what a closed range can say.
YamlField<RunDraft> OpenNumberField(std::string key, double RunDraft::* member, bool positive,
                                    bool below_one, std::string fallback, std::string meaning) {
  std::string type = positive ? "number, more than 0" : "number, at least 0";
  if (below_one) type += ", less than 1";
  return {key, type, std::move(fallback), std::move(meaning), [=](YamlMap* map, RunDraft* out) {
            double value = 0;
            if (!map->Get(key, &value)) return;
            if (value < 0 || (positive && value == 0) || (below_one && value >= 1)) {
              map->Error(key, absl::StrCat("is ", value, ", expected a ", type));
            } else {
              out->*member = value;
            }
          }};
}

}  // namespace

const Fields& RootFields() {
  static const auto* fields = new Fields{
      TextField<RunDraft>("name", &RunDraft::given_name,
                          "text: a-z, 0-9 and -, at most 63 characters, no - in front",
                          "the preset's name in lower case, else run",
                          "What the run is called in lists, folders and metrics."),
      IntegerField<RunDraft>("priority", &RunDraft::priority, -1000, 1000, "0",
                             "Runs of a higher priority leave the queue first."),
      TextField<RunDraft>("project", &RunDraft::project,
                          "text: a-z, 0-9 and -, at most 63 characters, no - in front", "default",
                          "Whom the run is for: among runs of one priority, those of the project "
                          "that uses the least of its share of the workers leave the queue first."),
      BooleanField<RunDraft>("preemptible", &RunDraft::preemptible, "true",
                             "Whether a run of a higher priority may have all its workers; with "
                             "false it gives only those beyond workers.min."),
      ChoiceField(
          "job", &RunDraft::job, {"train", "export", "serve"}, {}, "train",
          "What the run does. `export` writes a checkpoint of the run `of` as another file "
          "format, `serve` has the inference servers load what `of` has exported; both hold "
          "`name`, `priority`, `project`, `of`, `after` and the mapping of their own name "
          "alone."),
      TextField<RunDraft>("of", &RunDraft::of, "text: name or identifier of a run",
                          "required with job export and serve",
                          "The run whose result the job works on; it must be complete first."),
      {"after",
       absl::StrCat("list of texts, at most ", kMaxAfter, ": names or identifiers of runs"), "[]",
       "Runs that must be complete before this one begins; until then it waits and says for which. "
       "A name is the newest run of that name when this one is submitted.",
       [](YamlMap* map, RunDraft* out) {
         if (!map->Get("after", &out->after)) return;
         if (out->after.size() > kMaxAfter) {
           map->Error("after", absl::StrCat("names ", out->after.size(), " runs, expected at most ",
                                            kMaxAfter));
         }
         for (size_t i = 0; i < out->after.size(); ++i) {
           const std::string& name = out->after[i];
           if (name.empty() || name.size() > 128) {
             map->Error("after", absl::StrCat("has a name of ", name.size(),
                                              " characters, expected 1 to 128"));
           } else if (std::count(out->after.begin(), out->after.begin() + i, name) > 0) {
             map->Error("after", absl::StrCat("names `", name, "` twice"));
           }
         }
       }},
  };
  return *fields;
}

const Fields& DataFields() {
  static const auto* fields = new Fields{
      {"mix", absl::StrCat("one of ", absl::StrJoin(DataMixNames(), ", ")), "none",
       "Weights of sources that are named after the roles of a mix (above). A source's own "
       "`weight` "
       "wins; a source that is no role needs one.",
       [](YamlMap* map, RunDraft* out) {
         const std::vector<std::string> names = DataMixNames();
         map->GetChoice("mix", std::vector<absl::string_view>(names.begin(), names.end()),
                        &out->mix);
       }},
  };
  return *fields;
}

const std::vector<YamlField<SourceSpec>>& SourceFields() {
  using S = SourceSpec;
  static const auto* fields = new std::vector<YamlField<S>>{
      TextField<S>("name", &S::name, "text: letters, digits, `.`, `_` and -, at most 64 characters",
                   "the last part of `shards`",
                   "What the source is called in stages, evaluations and metrics."),
      TextField<S>(
          "shards", &S::shards, absl::StrCat("path, at most ", kMaxPathBytes, " bytes"), "required",
          absl::StrCat("Folder with the source's manifest.json; relative to the file's own "
                       "folder. At most ",
                       kMaxSources, " sources.")),
      NumberField<S>("weight", &S::weight, 0, kNoBound, "1.0",
                     "Share of the samples, relative to the other sources'."),
      {"max_epochs", "number, more than 0", "4.0",
       "The run is refused when it would repeat the source more often.",
       [](YamlMap* map, S* out) {
         double value = 0;
         if (!map->Get("max_epochs", &value)) return;
         if (value > 0) {
           out->max_epochs = value;
         } else {
           map->Error("max_epochs", absl::StrCat("is ", value, ", expected more than 0"));
         }
       }},
  };
  return *fields;
}

const Fields& LabelWeightFields() {
  const auto weight = [](const char* label, const char* usual) {
    return YamlField<RunDraft>{
        label, "number, more than 0", absl::StrCat("the shards', usually ", usual),
        absl::StrCat("Weight in the loss of the tokens of documents that are labelled ", label,
                     "."),
        [label](YamlMap* map, RunDraft* out) {
          double value = 0;
          if (!map->Get(label, &value)) return;
          if (value > 0) {
            out->label_weights[label] = value;
          } else {
            map->Error(label, absl::StrCat("is ", value,
                                           ", expected more than 0; documents that must not be "
                                           "trained on are left out by curation"));
          }
        }};
  };
  static const auto* fields = new Fields{weight("positive", "1.0"), weight("negative", "0.3"),
                                         weight("educational", "1.2")};
  return *fields;
}

const Fields& TrainingFields() {
  using D = RunDraft;
  static const auto* fields = new Fields{
      IntegerField<D>("steps", &D::given_steps, 1, 1'000'000'000,
                      "required, unless tokens is given", "Optimiser steps of the whole run."),
      IntegerField<D>("tokens", &D::given_tokens, 1, kNoLimit, "none",
                      "Tokens to train on, instead of steps: rounded up to whole steps."),
      IntegerField<D>("sequence_length", &D::given_sequence_length, 1, 1 << 30,
                      "the smaller of context and 1024",
                      "Tokens of one sequence, at most context."),
      IntegerField<D>("global_batch", &D::global_batch, 1, 1 << 20, "32",
                      "Sequences of one optimiser step, over all workers; at least workers.max."),
      IntegerField<D>("micro_batch", &D::micro_batch, 0, 1 << 20, "0",
                      "Sequences of one pass on one worker; 0: derived from the workers' memory."),
      IntegerField<D>("seed", &D::seed, 0, kNoLimit, "0",
                      "Key of the initial weights and of the sample order."),
      ChoiceField("optimizer", &D::optimizer, {"adamw", "muon"}, {}, "adamw",
                  "How gradients become steps; `muon` trains the matrices inside the blocks with "
                  "orthogonalised momentum, scaled so that AdamW's learning rate serves, and the "
                  "rest with AdamW. `tritterctl validate --groups` prints who is trained how."),
      OpenNumberField("momentum", &D::momentum, false, true, "0.95", "Muon's momentum (Nesterov)."),
      OpenNumberField("beta1", &D::beta1, false, true, "0.9", "Decay of the first moment."),
      OpenNumberField("beta2", &D::beta2, false, true, "0.95", "Decay of the second moment."),
      OpenNumberField("epsilon", &D::epsilon, true, false, "1.0e-8",
                      "Added to the root of the second moment."),
      OpenNumberField("weight_decay", &D::weight_decay, false, false, "0.1",
                      "Decoupled weight decay, on matrices only."),
      OpenNumberField("clip_norm", &D::clip_norm, true, false, "1.0",
                      "Largest global norm of the gradient."),
      OpenNumberField("z_loss", &D::z_loss, false, false, "0.0",
                      "Coefficient of (log Z)² in the loss; 1.0e-5 is usual."),
      ChoiceField("moments", &D::moments, {"fp32", "8bit"}, {}, "fp32",
                  "AdamW's two moments: `8bit` keeps those of matrices and embeddings as a byte "
                  "each with a scale for every 256, 6 bytes a parameter less."),
      BooleanField<D>("shard_optimizer", &D::shard_optimizer, "false",
                      "Each worker keeps moments and averages of a part of the parameters only "
                      "(ZeRO stage 1), for one exchange of the weights a step; the same bits."),
      StepsField("ema_window", &D::given_ema_window, "1%, at least 1 step",
                 "Window of the averaged weights."),
      ChoiceField(
          "precision", &D::precision, {"auto", "fp32", "bf16"}, {}, "auto",
          "Operands of the matrix products that are no codes; weights, moments and sums stay "
          "FP32. `auto` takes bf16 where the worker's processor multiplies it, else fp32."),
      IntegerField<D>("activation_checkpointing", &D::activation_checkpointing, 0, 4096, "0",
                      "Layers of a segment of which only the input is kept: its activations are "
                      "computed again in the backward pass, with the same bits; 0 keeps all."),
      ChoiceField("sync", &D::sync, {"every_step", "outer"}, {}, "every_step",
                  "How workers stay together. `every_step` sums the gradients of every step. "
                  "`outer`, for slow links: every worker takes `outer.steps` steps on its own part "
                  "of the batches, then all go on from the mean of their weights; checkpoints, "
                  "evaluations, pauses and the ends of plans move to the end of such a round."),
  };
  return *fields;
}

const Fields& OuterFields() {
  using D = RunDraft;
  static const auto* fields = new Fields{
      IntegerField<D>("steps", &D::outer_steps, 1, 2000, "20",
                      "Optimiser steps of a round; the last one of the run may be shorter."),
      OpenNumberField("rate", &D::outer_rate, true, false, "1.0",
                      "Step along the mean of the workers' displacements; 1 with no momentum is "
                      "their plain mean, with which the last round always ends."),
      OpenNumberField("momentum", &D::outer_momentum, false, true, "0.0",
                      "Nesterov momentum of the displacements of the rounds."),
      ChoiceField("compression", &D::outer_compression, {"none", "int8"}, {}, "none",
                  "What travels: displacements in FP32, or `int8`, a byte each with a scale for "
                  "every 256; what the codes lack is added to the next round's."),
  };
  return *fields;
}

const Fields& LearningRateFields() {
  using D = RunDraft;
  static const auto* fields = new Fields{
      {"peak", "number, more than 0", "6.0e-4", "Rate after warm-up, per optimiser step.",
       [](YamlMap* map, D* out) { map->Get("peak", &out->schedule.peak); }},
      {"min", "number, from 0 to less than peak", "a tenth of peak",
       "Rate at the end of the decay.",
       [](YamlMap* map, D* out) { map->Get("min", &out->given_min_rate); }},
      ChoiceField("schedule", &D::schedule_kind, {"wsd", "no_stable"}, {}, "wsd",
                  "Warm-up, stable, decay; `no_stable` decays from the end of the warm-up on."),
      StepsField("warmup", &D::warmup, "1%, at least 1 step", "Length of the linear warm-up."),
      StepsField("decay", &D::decay, "19%, at least 1 step", "Length of the decay, at the end."),
      {"shape", "one of cosine, linear, sqrt", "cosine", "Curve of the decay.",
       [](YamlMap* map, D* out) {
         std::string name;
         if (!map->GetChoice("shape", {"cosine", "linear", "sqrt"}, &name)) return;
         out->schedule.shape = *ParseDecayShape(name);
       }},
  };
  return *fields;
}

const std::vector<RunSection>& PlainSections() {
  using D = RunDraft;
  constexpr char kTenth[] = "a tenth of steps, at most 1000";
  static const auto* sections = new std::vector<RunSection>{
      {"extend",
       {TextField<D>("run", &D::extend_run, "text: name or identifier of a run", "none",
                     "Go on from a checkpoint of this run's stable phase, with another number of "
                     "steps and nothing else of its training changed; `tritterctl extend` "
                     "submits such a run."),
        IntegerField<D>("step", &D::extend_step, 0, kNoLimit, "0",
                        "Step of that checkpoint; 0: the newest of the stable phase.")}},
      {"clone",
       {TextField<D>("run", &D::clone_run, "text: name or identifier of a run", "none",
                     "Begin with a checkpoint of this run; `tritterctl clone` submits such a run. "
                     "Weights, moments, averages and step are taken: training goes on at that step "
                     "with this "
                     "run's schedule and data. Every parameter must have the same shape and the "
                     "optimiser the same moments."),
        IntegerField<D>("step", &D::clone_step, 0, kNoLimit, "0",
                        "Step of that checkpoint; 0: the newest."),
        BooleanField<D>("weights_only", &D::clone_weights_only, "false",
                        "Take nothing but weights: training begins at step 0, evaluates them, and "
                        "goes its own way with moments of zero. The optimiser, its moments, the "
                        "steps and the length of sequences may be others then; every parameter "
                        "must have the same shape and the text the same tokenizer."),
        ChoiceField("weights", &D::clone_weights, {"averaged", "raw"}, {}, "averaged",
                    "With `weights_only`, which: the averaged ones, which are what is exported, "
                    "or the raw ones, as they were trained.")}},
      {"hybrid",
       {ChoiceField(
           "mode", &D::hybrid_mode, {"off", "auto"},
           {{"on", "use auto or off"}, {"shadow", "use auto or off"}}, "off",
           "Predictive phases: `auto` allows them where they have shown a gain, which today "
           "is nowhere, so that it is plain training like `off`.")}},
      {"workers",
       {IntegerField<D>("min", &D::min_workers, 1, 4096, "1", "The run waits for this many."),
        IntegerField<D>("max", &D::given_max_workers, 1, 4096, "workers.min",
                        "The run takes no more; at least workers.min."),
        ChoiceField("device", &D::device, {"auto", "cpu", "cuda", "any"}, {}, "auto",
                    absl::StrCat("Kind of device that workers must have. `auto`: all of a group "
                                 "are alike, GPUs where enough are there and the run is for them, "
                                 "else CPUs. `any`: CPUs and GPUs together, GPUs first; while a "
                                 "group has both, moments and averages are spread over it as with "
                                 "`training.shard_optimizer` (but for `sync: outer`), and it stops "
                                 "with a checkpoint. GPUs "
                                 "train whatever CPUs do but `model.head_dim` above ",
                                 kWidestHeadOnCuda, ".")),
        ChoiceField("split", &D::split, {"auto", "equal", "measured"}, {}, "auto",
                    "How the sequences of a batch are divided over the group: `measured` by the "
                    "speed that each worker reports, so that all are done at the same time, "
                    "`equal` equally. `auto` measures where devices, processor features or threads "
                    "of the group differ."),
        BooleanField<D>("deterministic", &D::deterministic, "false",
                        "On a GPU: the same state gives the same bits, at some cost of speed; a "
                        "CPU always does.")}},
      {"retry",
       {IntegerField<D>("budget", &D::retry_budget, 1, 1'000'000, "5",
                        "Epochs in a row that may end in a failure without progress (a step beyond "
                        "all before, a checkpoint) before the run fails; 1: the first of them ends "
                        "it. One that made progress begins the count anew."),
        NumberField<D>("delay", &D::retry_delay, 0, 86400, "1.0",
                       "Seconds before the second of them is tried again (the first is at once); "
                       "doubles with each."),
        NumberField<D>("longest_delay", &D::retry_longest_delay, 0, 86400, "30.0",
                       "Seconds beyond which it doubles no more.")}},
      {"checkpoint",
       {IntegerField<D>("every", &D::given_checkpoint_every, 0, kNoLimit, kTenth,
                        "Steps between checkpoints; 0: one at the end only."),
        IntegerField<D>(
            "keep", &D::checkpoint_keep, 1, 1'000'000, "3",
            "Newest checkpoints that are kept. Besides them the newest of the stable phase stays: "
            "from it the run can be extended."),
        IntegerField<D>("keep_every", &D::checkpoint_keep_every, 0, kNoLimit, "0",
                        "Kept besides, to the end: the first checkpoint at or after every multiple "
                        "of so many steps; 0: none."),
        BooleanField<D>("keep_best", &D::checkpoint_keep_best, "true",
                        "Kept besides: the checkpoint with the lowest held-out loss (averaged "
                        "weights, all sources) of those whose step was evaluated.")}},
      {"evaluation",
       {IntegerField<D>("every", &D::given_evaluate_every, 0, kNoLimit, kTenth,
                        "Steps between evaluations on held-out text; 0: one at the end only."),
        BooleanField<D>("raw", &D::evaluate_raw, "true",
                        "Evaluates the raw weights too, beside the averaged ones (where the "
                        "averages are over more "
                        "than one step); false saves half "
                        "the time."),
        {"prompts", "list of texts, at most 16 of 1 to 2000 bytes", "[\"The \"]",
         "At each evaluation text is generated from them, the likeliest and one drawn; an empty "
         "list: none.",
         [](YamlMap* map, D* out) {
           if (!map->Get("prompts", &out->sample_prompts)) return;
           const auto unfit = [](const std::string& p) { return p.empty() || p.size() > 2000; };
           if (out->sample_prompts.size() > 16) {
             map->Error("prompts", absl::StrCat("has ", out->sample_prompts.size(),
                                                " texts, expected at most 16"));
           } else if (std::any_of(out->sample_prompts.begin(), out->sample_prompts.end(), unfit)) {
             map->Error("prompts", "each text must have 1 to 2000 bytes");
           }
         }},
        IntegerField<D>("sample_tokens", &D::sample_tokens, 1, 1000, "64",
                        "Tokens that are generated from each prompt.")}},
      {"export",
       {{"format", "one of none, tpack; of job export: tpack, safetensors, hf, gguf",
         "none; required with job export",
         "Deployable file written when the run is complete; of job export the file it writes.",
         [](YamlMap* map, D* out) {
           std::string name;
           if (map->GetChoice("format", {"none", "tpack", "safetensors", "hf", "gguf"}, &name)) {
             out->export_format = name == "none" ? "" : name;
           }
         }},
        {"head", "one of f32, int8, int4", "f32",
         "Output head in that file (with tied embeddings these too): as trained, or with a scale a "
         "row in int8 or int4, which is read whole for every token.",
         [](YamlMap* map, D* out) {
           map->GetChoice("head", {"f32", "int8", "int4"}, &out->export_head);
         }},
        IntegerField<D>("step", &D::export_step, 0, kNoLimit, "0",
                        "Of job export: step of the checkpoint; 0: the newest.")}},
      {"serve",
       {TextField<D>("model", &D::serve_model,
                     "text: letters, digits, `.`, `_` and -, at most 64 characters",
                     "the name of the run that was trained",
                     "Of job serve: the name that servers load the model by; the one that serves "
                     "under it is replaced, requests at work on it are finished.")}},
  };
  return *sections;
}

}  // namespace tritter
