// The reference page of run.yaml, made from the tables that read it.
#include "absl/strings/str_replace.h"
#include "model/config_yaml.h"
#include "model/data_mix.h"
#include "model/run_spec_keys.h"

namespace tritter {
namespace {

constexpr char kIntroduction[] = R"(# run.yaml

The shape of a training run. This page is printed by `bazel run //model:print_run_yaml_reference` from the tables that
the parser itself reads by; a test compares them.

Every key has a default but `model`, `data` and one of `training.steps` and `training.tokens` (job train). Unknown, duplicate and
misspelt keys, wrong types and values that do not fit together are errors of the form `file:line:column: key: message`,
all of them at once. `tritterctl validate run.yaml` checks a file.

```yaml
name: shakespeare-nano
model: {preset: nano, family: tritter}
data:
  sources:
    - {name: shakespeare, shards: shards/shakespeare, weight: 1.0, max_epochs: 20}
  stages: {decay: {shakespeare: 1.0}}
training:
  steps: 1200
  sequence_length: 128
  global_batch: 16
  learning_rate: {peak: 3.0e-3, schedule: wsd, warmup: 50, decay: 20%, shape: cosine}
workers: {min: 2, max: 2}
checkpoint: {every: 200, keep: 3}
export: {format: tpack}
```

A run of another job works on what a run has left; its file is short:

```yaml
name: shakespeare-int8
job: export
of: shakespeare-nano
export: {format: tpack, head: int8}
```

Shares of the run become whole steps once, when it is read, for `steps` T: warm-up W = max(1, round(1 % of T)), decay
from S = max(W, T - max(1, round(19 % of T))) on.

)";

struct Group {
  std::string title, prefix, text;
};

std::string Escaped(const std::string& text) { return absl::StrReplaceAll(text, {{"|", "\\|"}}); }

void AppendTable(const Group& group, const std::vector<YamlKeyDoc>& keys, std::string* page) {
  absl::StrAppend(page, "## ", group.title, "\n\n", group.text, group.text.empty() ? "" : "\n\n",
                  "| key | type | default | meaning |\n|---|---|---|---|\n");
  for (const YamlKeyDoc& key : keys) {
    absl::StrAppend(page, "| `", key.path, "` | ", Escaped(key.type), " | ", Escaped(key.fallback),
                    " | ", Escaped(key.meaning), " |\n");
  }
  absl::StrAppend(page, "\n");
}

std::string DataText() {
  std::string text =
      "Where the tokens come from. At least one source; names are unique. Mixes and the weights of "
      "their roles, in percent:";
  for (const std::string& mix : DataMixNames()) {
    absl::StrAppend(&text, "\n- `", mix, "`:");
    const char* separator = " ";
    for (const MixRole& role : DataMixRoles(mix)) {
      absl::StrAppend(&text, separator, role.name, " ", role.weight);
      separator = ", ";
    }
  }
  return text;
}

// The group that a key belongs to: its first part.
std::string FirstPart(const std::string& path) { return path.substr(0, path.find('.')); }

}  // namespace

std::vector<YamlKeyDoc> RunYamlKeys() {
  std::vector<YamlKeyDoc> keys;
  AppendKeyDocs(RootFields(), "", &keys);
  for (YamlKeyDoc doc : ModelConfigKeys()) {
    doc.path = "model." + doc.path;
    keys.push_back(std::move(doc));
  }
  AppendKeyDocs(SourceFields(), "data.sources[].", &keys);
  AppendKeyDocs(DataFields(), "data.", &keys);
  keys.push_back({"data.stages.stable.<source>", "number, at least 0", "the source's weight",
                  "Weight of a source until the decay, the warm-up included; once the mapping is "
                  "there, a source it does not name has 0."});
  keys.push_back({"data.stages.decay.<source>", "number, at least 0", "the source's weight",
                  "The same from the first step of the decay on."});
  keys.push_back(
      {"data.stages[].from", "steps, a percentage of all steps, or decay", "required",
       absl::StrCat("Instead of that mapping, a list of at most ", kMaxStages,
                    " stages: the first step of each, later than that of the one before.")});
  keys.push_back({"data.stages[].weights.<source>", "number, at least 0", "0",
                  "Weights of the sources from there on."});
  AppendKeyDocs(LabelWeightFields(), "data.label_weights.", &keys);
  AppendKeyDocs(TrainingFields(), "training.", &keys);
  AppendKeyDocs(LearningRateFields(), "training.learning_rate.", &keys);
  AppendKeyDocs(OuterFields(), "training.outer.", &keys);
  for (const RunSection& section : PlainSections()) {
    AppendKeyDocs(section.fields, section.key + ".", &keys);
  }
  return keys;
}

std::string RunYamlReference() {
  const std::vector<Group> groups = {
      {"The run", "", ""},
      {"model", "model",
       "A preset, or every size; any field given beside a preset wins. Training takes families "
       "tritter and bitnet and every switch, but attention bidirectional and embedding, which have "
       "no objective yet. `export.format: tpack` takes what the inference server computes: "
       "attention causal, sliding_window or sinks, weight_rule absmean, int8 activations, rmsnorm, "
       "no biases, a full head, and for family bitnet granularity tensor."},
      {"data", "data", DataText()},
      {"training", "training", ""},
      {"extend", "extend",
       "A run of its own that begins where another one stood. Warm-up, length of the decay and all "
       "that shapes training are the other run's; `training.steps` alone moves the start of the "
       "decay, so that the steps before it are those of a run that had the new number from the "
       "start. Free besides: `name`, `priority`, `project`, `preemptible`, `workers` (not "
       "`deterministic`), "
       "`training.shard_optimizer`, `checkpoint`, `evaluation`, `export`, `max_epochs`."},
      {"clone", "clone",
       "A run of its own that begins with a checkpoint of another one, copied when it is "
       "submitted. Its model must be that run's; schedule, data, batch and seed are its own."},
      {"hybrid", "hybrid", ""},
      {"workers", "workers", ""},
      {"retry", "retry", ""},
      {"checkpoint", "checkpoint", ""},
      {"evaluation", "evaluation", ""},
      {"export", "export", ""},
      {"serve", "serve", ""},
  };
  std::string page = kIntroduction;
  const std::vector<YamlKeyDoc> keys = RunYamlKeys();
  for (const Group& group : groups) {
    std::vector<YamlKeyDoc> members;
    for (const YamlKeyDoc& key : keys) {
      const bool at_root = key.path.find('.') == std::string::npos;
      if (group.prefix.empty() ? at_root : !at_root && FirstPart(key.path) == group.prefix) {
        members.push_back(key);
      }
    }
    AppendTable(group, members, &page);
  }
  page.pop_back();  // one newline at the end
  return page;
}

}  // namespace tritter
