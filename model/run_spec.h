// A training run as the user writes it (run.yaml), parsed strictly and with every default resolved.
// The canonical YAML of the result is the effective configuration that is stored, shown, hashed and
// sent to the workers, who parse it again with the same code.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/schedule.h"

namespace tritter {

// So that no text of a client's makes a spec that is many times its size.
inline constexpr size_t kMaxSources = 256;
inline constexpr size_t kMaxStages = 32;
inline constexpr size_t kMaxPathBytes = 4096;  // PATH_MAX of Linux

struct SourceSpec {
  std::string name;
  std::string shards;  // folder with manifest.json; absolute once resolved
  double weight = 1.0;
  double max_epochs = 4.0;  // refusal when the run would repeat the source more often
};

// The weights of the sources from a step on. A source that the stage does not name has none.
struct StageSpec {
  int64_t from = 0;       // first step
  bool at_decay = false;  // `from` is the first step of the decay, wherever that lies
  std::map<std::string, double> weights;
};

struct RunSpec {
  std::string name;  // [a-z0-9][a-z0-9-]{0,62}
  // "train"; "export" and "serve" work on what the run `of` has left, and hold nothing of a model,
  // of data or of training.
  std::string job = "train";
  std::string of;
  // Runs that must be complete before this one begins. Names or identifiers; the coordinator
  // resolves them, as it does `of`, to identifiers.
  std::vector<std::string> after;
  ModelConfig model;
  std::vector<SourceSpec> sources;
  std::vector<StageSpec>
      stages;  // by first step, rising; before the first the sources' own weights
  // data.label_weights: of a predicted token, by the label of its document ("positive", "negative",
  // "educational"); a label that is not here weighs what the shards say.
  std::map<std::string, double> label_weights;
  int64_t steps = 0;            // optimiser steps; from training.steps or training.tokens
  int64_t sequence_length = 0;  // L
  int64_t global_batch = 0;     // sequences per optimiser step
  int64_t micro_batch = 0;      // sequences per pass; 0: derived by the coordinator
  uint64_t seed = 0;
  ScheduleSpec schedule;
  std::string optimizer = "adamw";  // "adamw", "muon": model/parameter_groups.h
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
  double momentum = 0.95;        // Muon's
  std::string moments = "fp32";  // AdamW's: "fp32", "8bit"
  bool shard_optimizer = false;  // ZeRO stage 1
  double clip_norm = 1.0;
  double z_loss = 0.0;
  int64_t ema_window = 1;          // of the averaged weights, in steps
  std::string precision = "auto";  // "auto", "fp32", "bf16"
  // "every_step": gradients are summed in every step. "outer": workers take outer_steps steps each
  // on its own, then all go on from the weighted mean of their weights (worker/training/
  // outer_sync.h).
  std::string sync = "every_step";
  int64_t outer_steps = 20;
  double outer_rate = 1.0, outer_momentum = 0.0;
  std::string outer_compression = "none";  // "none", "int8"
  // Layers whose activations are computed again together in the backward pass; 0 keeps all.
  int64_t activation_checkpointing = 0;
  std::string hybrid_mode = "off";
  int64_t min_workers = 1, max_workers = 1;
  std::string device = "auto";  // "auto", "cpu", "cuda", "any"
  // How sequences are divided over ranks: "auto", "equal", "measured" (by speed).
  std::string split = "auto";
  bool deterministic = false;    // on a GPU too: equal states give equal bits
  int64_t checkpoint_every = 0;  // steps; 0: only at the end
  int64_t checkpoint_keep = 3;
  int64_t checkpoint_keep_every = 0;  // steps; 0: none but the newest and the best
  bool checkpoint_keep_best = true;
  int64_t evaluate_every = 0;               // steps; 0: only at the end
  bool evaluate_raw = true;                 // the raw weights too, beside the averaged ones
  std::vector<std::string> sample_prompts;  // text is generated from them at each evaluation
  int64_t sample_tokens = 64;               // of each
  std::string export_format;                // "" or "tpack"; of job "export" any of model/export.h
  std::string export_head = "f32";          // the output head in a tpack: "f32", "int8" or "int4"
  int64_t export_step = 0;                  // of job "export": of the checkpoint; 0: the newest
  std::string serve_model;                  // of job "serve": the name that servers load it by
  // Epochs in a row that may fail without progress before the run does; pauses between them.
  int64_t retry_budget = 5;
  double retry_delay = 1.0, retry_longest_delay = 30.0;  // seconds
  int64_t priority = 0;
  std::string project = "default";  // [a-z0-9][a-z0-9-]{0,62}: runs that share workers as one
  bool preemptible = true;          // may give all its workers to a run of a higher priority
  // The run that this one extends, "" for none: training goes on from a checkpoint of its stable
  // phase; 0: the newest there. The coordinator resolves both, the run to its identifier.
  std::string extend_run;
  int64_t extend_step = 0;
  // The run whose checkpoint this one begins with, "" for none: weights, moments, averages and
  // step. Resolved as extend_run.
  std::string clone_run;
  int64_t clone_step = 0;
  // Nothing of it but the weights: training begins at step 0, with moments of zero.
  bool clone_weights_only = false;
  std::string clone_weights = "averaged";  // then: "averaged", "raw"
};

inline bool IsTraining(const RunSpec& spec) { return spec.job == "train"; }

inline bool IsOuter(const RunSpec& spec) { return spec.sync == "outer"; }
// What it keeps beside the optimiser's state, 4 bytes a parameter each.
inline bool KeepsResidual(const RunSpec& spec) {
  return IsOuter(spec) && spec.outer_compression != "none";
}
inline bool KeepsOuterMomentum(const RunSpec& spec) {
  return IsOuter(spec) && spec.outer_momentum > 0;
}

// The first step count, not below `step`, at which every worker has the same weights, so that a
// plan, a checkpoint or an evaluation may stand there: `step` itself with every_step; with outer
// the next multiple of outer_steps, or the end of the run.
int64_t RoundEnd(const RunSpec& spec, int64_t step);

// Whether evaluation looks at the raw weights too: averages over one step are the weights.
inline bool EvaluatesRawWeights(const RunSpec& spec) {
  return spec.evaluate_raw && spec.ema_window > 1;
}

// The weights in force at a step, one for each source.
std::vector<double> WeightsAt(const RunSpec& spec, int64_t step);

// `base_dir`: relative paths of the YAML are resolved against it. Errors: InvalidArgument with all
// problems, one a line, `file:line:col: path: message`.
absl::StatusOr<RunSpec> ParseRunSpec(absl::string_view yaml, absl::string_view file_name,
                                     absl::string_view base_dir);
// Canonical YAML, the same text for the same spec on every machine; ParseRunSpec(CanonicalYaml(s))
// == s.
std::string CanonicalYaml(const RunSpec& spec);

}  // namespace tritter
