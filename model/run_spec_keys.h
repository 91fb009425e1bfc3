// The keys of run.yaml as data, one table for each mapping: read by ParseRunSpec, printed as the
// reference page.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/run_spec.h"
#include "model/yaml_fields.h"

namespace tritter {

// Optimiser steps, or a share of all of them.
struct StepsOrShare {
  int64_t steps = 0;
  std::optional<double> share;
};

// A run as written: what has a default that depends on other keys is optional here.
struct RunDraft : RunSpec {
  std::optional<std::string> given_name;
  std::optional<int64_t> given_steps, given_tokens, given_sequence_length, given_max_workers;
  std::optional<int64_t> given_checkpoint_every, given_evaluate_every;
  std::optional<double> given_min_rate;
  std::optional<StepsOrShare> warmup, decay, given_ema_window;
  // Of `stages`, where they are not at the decay; nullopt: could not be read.
  std::vector<std::optional<StepsOrShare>> stage_starts;
  std::string mix;  // data.mix; empty: none
  std::string schedule_kind = "wsd";
};

const std::vector<YamlField<RunDraft>>& RootFields();
const std::vector<YamlField<RunDraft>>& DataFields();
const std::vector<YamlField<SourceSpec>>& SourceFields();
const std::vector<YamlField<RunDraft>>& LabelWeightFields();
const std::vector<YamlField<RunDraft>>& TrainingFields();
const std::vector<YamlField<RunDraft>>& LearningRateFields();
const std::vector<YamlField<RunDraft>>& OuterFields();

// Mappings that hold plain keys only: "extend", "clone", "hybrid", "workers", "retry",
// "checkpoint", "evaluation", "export", "serve".
struct RunSection {
  std::string key;
  std::vector<YamlField<RunDraft>> fields;
};
const std::vector<RunSection>& PlainSections();

// Every key of run.yaml, in the order of the reference page.
std::vector<YamlKeyDoc> RunYamlKeys();
// docs/reference/run_yaml.md, whole.
std::string RunYamlReference();

}  // namespace tritter
