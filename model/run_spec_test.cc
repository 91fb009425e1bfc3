#include "model/run_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/env.h"
#include "common/sha256.h"
#include "common/testing/status_matchers.h"
#include "model/run_spec_keys.h"

namespace tritter {
namespace {

using ::testing::HasSubstr;

constexpr char kData[] = "model: {preset: nano}\ndata: {sources: [{name: a, shards: s/a}]}\n";

absl::StatusOr<RunSpec> Parse(const std::string& yaml) {
  return ParseRunSpec(yaml, "run.yaml", "/base");
}
absl::StatusOr<RunSpec> Train(const std::string& training) {
  return Parse(absl::StrCat(kData, "training: {", training, "}\n"));
}

constexpr char kExample[] = R"(name: shakespeare-nano
model: {preset: nano, family: tritter}            # any field of the configuration may follow
data:
  sources:
    - {name: shakespeare, shards: shards/shakespeare, weight: 1.0, max_epochs: 20}
  stages: {decay: {shakespeare: 1.0}}             # other weights from the decay phase on
training:
  steps: 1200
  sequence_length: 128
  global_batch: 16                                # sequences
  learning_rate: {peak: 3.0e-3, schedule: wsd, warmup: 50, decay: 20%, shape: cosine}
  optimizer: adamw
  precision: auto
hybrid: {mode: auto}
workers: {min: 2, max: 2, device: auto}
checkpoint: {every: 200, keep: 3}
evaluation: {every: 200}
export: {format: tpack}                           # when the run is complete
)";

// The effective configuration is a contract: stored, hashed, and read by workers of the same
// version.
constexpr char kExampleCanonical[] = R"(name: "shakespeare-nano"
priority: 0
project: "default"
job: train
after: []
preemptible: true
model:
  preset: "nano"
  family: tritter
  hidden: 128
  layers: 4
  heads: 4
  kv_heads: 2
  head_dim: 32
  ffn: 384
  vocab: 512
  context: 512
  rope_theta: 500000.0
  norm_eps: 0.00001
  norm: rmsnorm
  tied_embeddings: false
  bias: false
  lm_head: full
  attention: causal
  weight_rule: absmean
  granularity: row
  activations: int8
data:
  sources:
    - name: "shakespeare"
      shards: "/base/shards/shakespeare"
      weight: 1.0
      max_epochs: 20.0
  stages:
    - from: decay
      weights:
        "shakespeare": 1.0
training:
  steps: 1200
  sequence_length: 128
  global_batch: 16
  micro_batch: 0
  seed: 0
  optimizer: adamw
  momentum: 0.95
  beta1: 0.9
  beta2: 0.95
  epsilon: 1.0e-08
  weight_decay: 0.1
  clip_norm: 1.0
  z_loss: 0.0
  moments: fp32
  shard_optimizer: false
  ema_window: 12
  precision: auto
  activation_checkpointing: 0
  sync: every_step
  learning_rate:
    peak: 0.003
    min: 0.0003
    schedule: wsd
    warmup: 50
    decay: 240
    shape: cosine
extend:
  run: ""
  step: 0
clone:
  run: ""
  step: 0
  weights_only: false
  weights: averaged
hybrid:
  mode: "auto"
workers:
  min: 2
  max: 2
  device: auto
  split: auto
  deterministic: false
retry:
  budget: 5
  delay: 1.0
  longest_delay: 30.0
checkpoint:
  every: 200
  keep: 3
  keep_every: 0
  keep_best: true
evaluation:
  every: 200
  raw: true
  prompts: ["The "]
  sample_tokens: 64
export:
  format: tpack
  head: f32
)";

TEST(ParseRunSpec, ReadsTheExampleOfTheSpecification) {
  ASSERT_OK_AND_ASSIGN(const RunSpec spec, Parse(kExample));
  EXPECT_EQ(spec.name, "shakespeare-nano");
  ASSERT_EQ(spec.sources.size(), 1u);
  EXPECT_EQ(spec.sources[0].shards, "/base/shards/shakespeare");
  EXPECT_EQ(spec.sources[0].max_epochs, 20.0);
  ASSERT_EQ(spec.stages.size(), 1u);
  EXPECT_EQ(spec.stages[0].from, 960);
  EXPECT_EQ(spec.stages[0].weights.at("shakespeare"), 1.0);
  EXPECT_EQ(spec.schedule.warmup_steps, 50);
  EXPECT_EQ(spec.schedule.decay_start_step, 960);
  EXPECT_EQ(spec.schedule.total_steps, 1200);
  EXPECT_EQ(spec.schedule.peak, 3e-3);
  EXPECT_EQ(spec.schedule.min, 3e-4);
  EXPECT_EQ(spec.hybrid_mode, "auto");
  EXPECT_EQ(spec.min_workers, 2);
  EXPECT_EQ(spec.export_format, "tpack");
}

TEST(CanonicalYaml, IsByteForByteWhatItWas) {
  ASSERT_OK_AND_ASSIGN(const RunSpec spec, Parse(kExample));
  EXPECT_EQ(CanonicalYaml(spec), kExampleCanonical);
}

TEST(ParseRunSpec, ReadsTheQuickStart) {
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       Env::Real()->ReadFile("examples/shakespeare/run.yaml"));
  ASSERT_OK_AND_ASSIGN(const RunSpec spec, Parse(text));
  EXPECT_EQ(ParameterCount(spec.model), 855424);
}

TEST(ParseRunSpec, ResolvesEveryDefault) {
  ASSERT_OK_AND_ASSIGN(const RunSpec spec, Parse(absl::StrCat(kData, "training: {steps: 1000}\n")));
  EXPECT_EQ(spec.name, "nano");
  EXPECT_EQ(spec.sequence_length, 512);
  EXPECT_EQ(spec.global_batch, 32);
  EXPECT_EQ(spec.schedule.peak, 6e-4);
  EXPECT_EQ(spec.schedule.min, 6e-5);
  EXPECT_EQ(spec.schedule.warmup_steps, 10);
  EXPECT_EQ(spec.schedule.decay_start_step, 810);
  EXPECT_EQ(spec.min_workers, 1);
  EXPECT_EQ(spec.max_workers, 1);
  EXPECT_EQ(spec.checkpoint_every, 100);
  EXPECT_EQ(spec.evaluate_every, 100);
  EXPECT_EQ(spec.hybrid_mode, "off");
  EXPECT_EQ(spec.export_format, "");
  EXPECT_EQ(spec.export_head, "f32");
  EXPECT_EQ(spec.sources[0].max_epochs, 4.0);
  EXPECT_TRUE(spec.stages.empty());
}

TEST(ParseRunSpec, ResolvesSharesToWholeSteps) {
  struct Case {
    int64_t steps;
    const char* rates;
    int64_t warmup, decay_start;
  };
  const Case kCases[] = {
      {1, "{}", 1, 1},
      {2, "{}", 1, 1},
      {3, "{}", 1, 2},
      {10, "{}", 1, 8},
      {149, "{}", 1, 121},  // 1.49 and 28.31
      {150, "{}", 2, 121},  // 1.5 goes up; 28.5 goes up
      {100000, "{}", 1000, 81000},
      {1200, "{warmup: 50, decay: 20%}", 50, 960},
      {1000, "{warmup: 2.5%, decay: 125}", 25, 875},
      {1000, "{warmup: 0, decay: 0}", 0, 1000},
      {1000, "{warmup: 0%, decay: 0%}", 0, 1000},
      {1000, "{warmup: 900}", 900, 900},  // the default decay gives way
      {1000, "{schedule: no_stable}", 10, 10},
      {1000, "{schedule: no_stable, warmup: 100}", 100, 100},
      {5, "{warmup: 50%, decay: 50%}", 3, 3},  // 2.5 goes up twice
  };
  for (const Case& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const RunSpec spec,
                         Train(absl::StrCat("steps: ", c.steps, ", learning_rate: ", c.rates)));
    EXPECT_EQ(spec.schedule.warmup_steps, c.warmup) << c.steps << c.rates;
    EXPECT_EQ(spec.schedule.decay_start_step, c.decay_start) << c.steps << c.rates;
    EXPECT_EQ(spec.schedule.total_steps, c.steps);
  }
}

TEST(ParseRunSpec, TokensBecomeWholeStepsUpwards) {
  // 32 sequences of 512 tokens a step.
  for (const auto& [tokens, steps] : {std::pair{1, 1}, {16384, 1}, {16385, 2}, {1638400, 100}}) {
    ASSERT_OK_AND_ASSIGN(const RunSpec spec, Train(absl::StrCat("tokens: ", tokens)));
    EXPECT_EQ(spec.steps, steps) << tokens;
    EXPECT_EQ(spec.schedule.total_steps, steps);
  }
  EXPECT_THAT(Train("tokens: 9223372036854775807"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("training.tokens: makes")));
}

TEST(ParseRunSpec, RefusesMoreTokensThanCanBeCounted) {
  EXPECT_THAT(
      Parse("model: {preset: nano, context: 1073741824}\ndata: {sources: [{shards: a}]}\n"
            "training: {steps: 1000000000, sequence_length: 1073741824, global_batch: 1048576}\n"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens do not fit 63 bits")));
}

TEST(ParseRunSpec, ASourceIsNamedAfterItsFolder) {
  ASSERT_OK_AND_ASSIGN(
      const RunSpec spec,
      Parse("model: {preset: nano}\ndata: {sources: [{shards: x/wiki/}, {shards: /abs/code}]}\n"
            "training: {steps: 1}\n"));
  EXPECT_EQ(spec.sources[0].name, "wiki");
  EXPECT_EQ(spec.sources[0].shards, "/base/x/wiki");
  EXPECT_EQ(spec.sources[1].shards, "/abs/code");
}

// The same folder is the same configuration, and reads well.
TEST(ParseRunSpec, APathHasNoDetour) {
  const std::string temp = testing::TempDir();
  std::filesystem::create_directories(temp + "/far/deep");
  std::filesystem::create_directory_symlink(temp + "/far/deep", temp + "/link");
  ASSERT_OK_AND_ASSIGN(
      const RunSpec spec,
      Parse("model: {preset: nano}\ndata: {sources: [{shards: ../quickstart/shards}, {shards: " +
            temp + "/link/../wiki}]}\ntraining: {steps: 1}\n"));
  EXPECT_EQ(spec.sources[0].shards, "/quickstart/shards");
  EXPECT_EQ(spec.sources[1].shards, temp + "/link/../wiki") << "that is far/wiki";
}

TEST(ParseRunSpec, ASourceThatAStageDoesNotNameHasNoWeightInIt) {
  ASSERT_OK_AND_ASSIGN(const RunSpec spec,
                       Parse("model: {preset: nano}\ndata: {sources: [{shards: a}, {shards: b}], "
                             "stages: {decay: {b: 2}}}\ntraining: {steps: 1}\n"));
  ASSERT_EQ(spec.stages.size(), 1u);
  EXPECT_EQ(spec.stages[0].weights.at("a"), 0.0);
  EXPECT_EQ(spec.stages[0].weights.at("b"), 2.0);
}

TEST(ParseRunSpec, StagesBecomeWholeStepsOnce) {
  ASSERT_OK_AND_ASSIGN(
      const RunSpec spec,
      Parse("model: {preset: nano}\ndata:\n  sources: [{shards: a}, {shards: b, weight: 3}]\n"
            "  stages:\n    - {from: 10, weights: {a: 1}}\n    - {from: 40%, weights: {b: 2}}\n"
            "    - {from: decay, weights: {a: 1, b: 1}}\ntraining: {steps: 333}\n"));
  ASSERT_EQ(spec.stages.size(), 3u);
  EXPECT_EQ(spec.stages[0].from, 10);
  EXPECT_EQ(spec.stages[1].from, 133);
  EXPECT_EQ(spec.stages[2].from, 333 - 63);
  EXPECT_EQ(WeightsAt(spec, 9), (std::vector<double>{1, 3}));
  EXPECT_EQ(WeightsAt(spec, 10), (std::vector<double>{1, 0}));
  EXPECT_EQ(WeightsAt(spec, 133), (std::vector<double>{0, 2}));
  EXPECT_EQ(WeightsAt(spec, 332), (std::vector<double>{1, 1}));
}

TEST(ParseRunSpec, StableAndDecayCoverTheRun) {
  ASSERT_OK_AND_ASSIGN(
      const RunSpec spec,
      Parse("model: {preset: nano}\ndata: {sources: [{shards: a}, {shards: b}], stages: {stable: "
            "{a: 1}, decay: {b: 1}}}\ntraining: {steps: 100}\n"));
  EXPECT_EQ(WeightsAt(spec, 0), (std::vector<double>{1, 0}));
  EXPECT_EQ(WeightsAt(spec, 80), (std::vector<double>{1, 0}));
  EXPECT_EQ(WeightsAt(spec, 81), (std::vector<double>{0, 1}));
}

TEST(ParseRunSpec, AMixWeighsTheSourcesThatAreNamedAfterItsRoles) {
  ASSERT_OK_AND_ASSIGN(
      const RunSpec spec,
      Parse(
          "model: {preset: nano}\ndata: {mix: general-100m, sources: [{shards: natural-language}, "
          "{name: code, shards: x/github}, {shards: mathematics, weight: 20}, {shards: "
          "machine-learning}, {shards: logic}, {shards: own, weight: 3}]}\ntraining: {steps: "
          "1}\n"));
  EXPECT_EQ(WeightsAt(spec, 0), (std::vector<double>{40, 25, 20, 10, 10, 3}));
}

TEST(RoundEnd, IsTheNextStepAtWhichAllHaveTheSameWeights) {
  ASSERT_OK_AND_ASSIGN(RunSpec spec, Train("steps: 50"));
  for (const int64_t step : {0, 1, 49, 50}) EXPECT_EQ(RoundEnd(spec, step), step);
  ASSERT_OK_AND_ASSIGN(spec, Train("steps: 50, sync: outer"));
  EXPECT_EQ(spec.outer_steps, 20);
  for (const auto& [step, end] :
       {std::pair{0, 0}, {1, 20}, {19, 20}, {20, 20}, {21, 40}, {40, 40}, {41, 50}, {50, 50}})
    EXPECT_EQ(RoundEnd(spec, step), end) << step;
}

TEST(CanonicalYaml, HoldsEveryKey) {
  // Coordinator and workers read nothing else: a key it lacks would go back to its default there.
  const std::set<std::string> resolved_away = {
      "model.preset",     // every size is given
      "training.tokens",  // becomes training.steps
      "data.mix",         // becomes the sources' weights
      "model.window",     // of other attention modes
      "model.sinks",     "model.prefix",
  };
  ASSERT_OK_AND_ASSIGN(
      const RunSpec spec,
      Parse(absl::StrCat("model: {preset: nano}\ndata: {sources: [{shards: a}], stages: {decay: "
                         "{a: 2}}, label_weights: {positive: 1, negative: 0.5, educational: 2}}\n"
                         "training: {steps: 1, sync: outer}\n")));
  std::string canonical = CanonicalYaml(spec);
  for (const char* job : {"job: export\nof: a\nexport: {format: hf}\n", "job: serve\nof: a\n"}) {
    ASSERT_OK_AND_ASSIGN(const RunSpec other, Parse(job));
    canonical += CanonicalYaml(other);
  }
  for (const YamlKeyDoc& key : RunYamlKeys()) {
    const std::string name = key.path.substr(key.path.rfind('.') + 1);
    if (absl::StrContains(name, '<') || resolved_away.count(key.path)) continue;
    EXPECT_TRUE(absl::StrContains(canonical, absl::StrCat(" ", name, ":")) ||
                absl::StrContains(canonical, absl::StrCat("\n", name, ":")) ||
                absl::StartsWith(canonical, absl::StrCat(name, ":")))
        << key.path << " is not in\n"
        << canonical;
  }
}

TEST(CanonicalYaml, ReadsBackToItself) {
  const std::string kRuns[] = {
      kExample,
      absl::StrCat(kData, "training: {steps: 1}\n"),
      absl::StrCat(
          kData,
          "training: {steps: 7, learning_rate: {schedule: no_stable, peak: 0.1, shape: sqrt}}\n"),
      absl::StrCat(
          kData,
          "training: {tokens: 123456789, seed: 9223372036854775807, beta1: 0.123456789012345678, "
          "epsilon: 1e-300, weight_decay: 0, z_loss: 1.0e-5, ema_window: 100%, "
          "optimizer: muon, momentum: 0.9, moments: 8bit, shard_optimizer: true}\nextend: {run: "
          "r12, step: 9}\npriority: -3\nproject: speech-2\npreemptible: false\nworkers: {split: "
          "measured}\n"),
      absl::StrCat(kData,
                   "training: {steps: 7, sync: outer, outer: {steps: 3, rate: 0.7, momentum: "
                   "0.9, compression: int8}}\n"),
      "model: {preset: test, hidden: 384, heads: 6, kv_heads: 2, head_dim: 48, rope_theta: "
      "12345.678}\n"
      "data: {sources: [{name: \"1\", shards: \"/a \\\" b\\\\c/größe\", weight: 0.1}, {shards: "
      "\"b: c #d\", name: b}], "
      "stages: [{from: 10%, weights: {b: 1}}, {from: decay, weights: {\"1\": 3}}], label_weights: "
      "{negative: 0.1}}\ntraining: {steps: 33}\n"
      "evaluation: {raw: false, prompts: [\"a \\\"quote\\\"\\n\", \"ä\"], sample_tokens: 7}\n",
      absl::StrCat(kData,
                   "training: {steps: 9}\nafter: [first, r12]\nclone: {run: first, step: 4, "
                   "weights_only: true, weights: raw}\nretry"
                   ": {budget: 2, delay: 0.5, longest_delay: 0.5}\n"),
      "job: export\nof: first\nafter: [second]\npriority: 3\nproject: a\nexport: {format: tpack, "
      "head: int8, "
      "step: 7}\n",
      "name: put\njob: serve\nof: first-gguf\nserve: {model: Chat.1}\n",
  };
  for (const std::string& text : kRuns) {
    ASSERT_OK_AND_ASSIGN(const RunSpec spec, Parse(text));
    const std::string canonical = CanonicalYaml(spec);
    ASSERT_OK_AND_ASSIGN(const RunSpec again,
                         ParseRunSpec(canonical, "effective.yaml", "/elsewhere"));
    EXPECT_EQ(CanonicalYaml(again), canonical);
    EXPECT_EQ(Sha256Hex(CanonicalYaml(again)), Sha256Hex(canonical));
    EXPECT_EQ(again.schedule.decay_start_step, spec.schedule.decay_start_step);
    EXPECT_EQ(again.model.head_dim_given, spec.model.head_dim_given);
    EXPECT_EQ(again.seed, spec.seed);
    EXPECT_EQ(again.label_weights, spec.label_weights);
    EXPECT_EQ(again.sample_prompts, spec.sample_prompts);
    for (const int64_t step : {int64_t{0}, spec.steps / 2, spec.steps - 1})
      EXPECT_EQ(WeightsAt(again, step), WeightsAt(spec, step));
    EXPECT_EQ(again.beta1, spec.beta1);
    EXPECT_EQ(again.job, spec.job);
    EXPECT_EQ(again.of, spec.of);
    EXPECT_EQ(again.after, spec.after);
    EXPECT_EQ(again.clone_run, spec.clone_run);
    EXPECT_EQ(again.clone_step, spec.clone_step);
    EXPECT_EQ(again.clone_weights_only, spec.clone_weights_only);
    EXPECT_EQ(again.clone_weights, spec.clone_weights);
    EXPECT_EQ(again.retry_budget, spec.retry_budget);
    EXPECT_EQ(again.export_step, spec.export_step);
    EXPECT_EQ(again.serve_model, spec.serve_model);
  }
}

TEST(CanonicalYaml, DiffersWhenAnythingDiffers) {
  ASSERT_OK_AND_ASSIGN(const RunSpec base, Train("steps: 1000"));
  for (const char* other :
       {"steps: 1001", "steps: 1000, seed: 1", "steps: 1000, beta2: 0.951",
        "steps: 1000, global_batch: 31", "steps: 1000, learning_rate: {shape: linear}",
        "steps: 1000, learning_rate: {warmup: 11}"}) {
    ASSERT_OK_AND_ASSIGN(const RunSpec spec, Train(other));
    EXPECT_NE(CanonicalYaml(spec), CanonicalYaml(base)) << other;
  }
}

std::string ManySources(int sources, int stages, absl::string_view path) {
  std::string text = "model: {preset: nano}\ntraining: {steps: 100000}\ndata:\n  sources:\n";
  for (int i = 0; i < sources; ++i)
    absl::StrAppend(&text, "  - {name: s", i, ", shards: ", path, i, "}\n");
  absl::StrAppend(&text, "  stages:\n");
  for (int i = 0; i < stages; ++i)
    absl::StrAppend(&text, "  - {from: ", i, ", weights: {s", i, ": 1}}\n");
  return text;
}

// A text of a client's makes a spec of about its own size, or none.
TEST(ParseRunSpec, SourcesAndStagesAreBounded) {
  EXPECT_OK(Parse(ManySources(256, 32, "/d/")));
  EXPECT_THAT(
      Parse(ManySources(1500, 1500, "/d/")).status().message(),
      testing::AllOf(testing::HasSubstr("data.sources: has 1500 items, expected at most 256"),
                     testing::HasSubstr("data.stages: has 1500 items, expected at most 32")));
  EXPECT_THAT(Parse(ManySources(2, 1, std::string(5000, 'p'))).status().message(),
              testing::HasSubstr("has 5001 bytes, expected a path of at most 4096"));
  EXPECT_THAT(Parse(ManySources(256, 32, std::string(4000, 'p'))).status().message(),
              testing::HasSubstr("with all that follows from it the configuration takes"));
}

TEST(ParseRunSpec, AnyMutationGivesAStatus) {
  const std::string example = kExample;
  for (size_t i = 0; i < example.size(); ++i) {
    for (const char c : {'x', ':', '{', '\n', '\x00', '\xff'}) {
      std::string text = example;
      text[i] = c;
      const absl::StatusOr<RunSpec> spec = Parse(text);
      if (!spec.ok()) {
        EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
        EXPECT_EQ(spec.status().message().substr(0, 9), "run.yaml:") << spec.status();
      }
    }
  }
}

}  // namespace
}  // namespace tritter
