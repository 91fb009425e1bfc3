// The effective configuration as canonical YAML.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/run_spec.h"
#include "model/yaml_text.h"

namespace tritter {
namespace {

// Lines of nested block mappings.
class Writer {
 public:
  void Open(absl::string_view key) {
    Line(key, "");
    indent_ += 2;
  }
  void Indent() { indent_ += 2; }
  void Close() { indent_ -= 2; }
  void Text(absl::string_view key, absl::string_view value) { Line(key, " " + YamlQuoted(value)); }
  void Word(absl::string_view key, absl::string_view value) { Line(key, absl::StrCat(" ", value)); }
  void Integer(absl::string_view key, int64_t value) { Line(key, absl::StrCat(" ", value)); }
  void Number(absl::string_view key, double value) { Line(key, " " + YamlNumber(value)); }
  void Item() { item_ = true; }  // the next line begins an item of a list
  void Raw(absl::string_view text) { absl::StrAppend(&text_, text); }
  int indent() const { return indent_; }
  std::string Take() { return std::move(text_); }

 private:
  void Line(absl::string_view key, absl::string_view rest) {
    const std::string pad(item_ ? indent_ - 2 : indent_, ' ');
    absl::StrAppend(&text_, pad, item_ ? "- " : "", key, ":", rest, "\n");
    item_ = false;
  }
  std::string text_;
  int indent_ = 0;
  bool item_ = false;
};

std::string TextList(const std::vector<std::string>& texts) {
  return absl::StrCat("[",
                      absl::StrJoin(texts, ", ",
                                    [](std::string* out, const std::string& text) {
                                      absl::StrAppend(out, YamlQuoted(text));
                                    }),
                      "]");
}

void WriteJob(const RunSpec& spec, Writer* w) {
  w->Open(spec.job);
  if (spec.job == "export") {
    w->Word("format", spec.export_format);
    w->Word("head", spec.export_head);
    w->Integer("step", spec.export_step);
  } else {
    w->Text("model", spec.serve_model);
  }
  w->Close();
}

void WriteData(const RunSpec& spec, Writer* w) {
  w->Open("data");
  w->Open("sources");
  w->Indent();
  for (const SourceSpec& source : spec.sources) {
    w->Item();
    w->Text("name", source.name);
    w->Text("shards", source.shards);
    w->Number("weight", source.weight);
    w->Number("max_epochs", source.max_epochs);
  }
  w->Close();
  w->Close();
  if (!spec.stages.empty()) {
    w->Open("stages");
    w->Indent();
    for (const StageSpec& stage : spec.stages) {
      w->Item();
      if (stage.at_decay) {
        w->Word("from", "decay");  // moves with the decay where a run is extended
      } else {
        w->Integer("from", stage.from);
      }
      w->Open("weights");
      for (const auto& [name, weight] : stage.weights) w->Number(YamlQuoted(name), weight);
      w->Close();
    }
    w->Close();
    w->Close();
  }
  if (!spec.label_weights.empty()) {
    w->Open("label_weights");
    for (const auto& [label, weight] : spec.label_weights) w->Number(label, weight);
    w->Close();
  }
  w->Close();
}

void WriteTraining(const RunSpec& spec, Writer* w) {
  w->Open("training");
  w->Integer("steps", spec.steps);
  w->Integer("sequence_length", spec.sequence_length);
  w->Integer("global_batch", spec.global_batch);
  w->Integer("micro_batch", spec.micro_batch);
  w->Integer("seed", static_cast<int64_t>(spec.seed));
  w->Word("optimizer", spec.optimizer);
  w->Number("momentum", spec.momentum);
  w->Number("beta1", spec.beta1);
  w->Number("beta2", spec.beta2);
  w->Number("epsilon", spec.epsilon);
  w->Number("weight_decay", spec.weight_decay);
  w->Number("clip_norm", spec.clip_norm);
  w->Number("z_loss", spec.z_loss);
  w->Word("moments", spec.moments);
  w->Word("shard_optimizer", spec.shard_optimizer ? "true" : "false");
  w->Integer("ema_window", spec.ema_window);
  w->Word("precision", spec.precision);
  w->Integer("activation_checkpointing", spec.activation_checkpointing);
  w->Word("sync", spec.sync);
  if (IsOuter(spec)) {
    w->Open("outer");
    w->Integer("steps", spec.outer_steps);
    w->Number("rate", spec.outer_rate);
    w->Number("momentum", spec.outer_momentum);
    w->Word("compression", spec.outer_compression);
    w->Close();
  }
  w->Open("learning_rate");
  w->Number("peak", spec.schedule.peak);
  w->Number("min", spec.schedule.min);
  w->Word("schedule", "wsd");  // no_stable is a decay as long as what the warm-up leaves
  w->Integer("warmup", spec.schedule.warmup_steps);
  w->Integer("decay", spec.schedule.total_steps - spec.schedule.decay_start_step);
  w->Word("shape", DecayShapeName(spec.schedule.shape));
  w->Close();
  w->Close();
}

}  // namespace

std::string CanonicalYaml(const RunSpec& spec) {
  Writer w;
  w.Text("name", spec.name);
  w.Integer("priority", spec.priority);
  w.Text("project", spec.project);
  w.Word("job", spec.job);
  w.Word("after", TextList(spec.after));
  if (!IsTraining(spec)) {
    w.Text("of", spec.of);
    WriteJob(spec, &w);
    return w.Take();
  }
  w.Word("preemptible", spec.preemptible ? "true" : "false");
  w.Open("model");
  w.Raw(ModelConfigToYaml(spec.model, w.indent()));
  w.Close();
  WriteData(spec, &w);
  WriteTraining(spec, &w);
  w.Open("extend");
  w.Text("run", spec.extend_run);
  w.Integer("step", spec.extend_step);
  w.Close();
  w.Open("clone");
  w.Text("run", spec.clone_run);
  w.Integer("step", spec.clone_step);
  w.Word("weights_only", spec.clone_weights_only ? "true" : "false");
  w.Word("weights", spec.clone_weights);
  w.Close();
  w.Open("hybrid");
  w.Word("mode", YamlQuoted(spec.hybrid_mode));  // quoted: `off` is a boolean to other readers
  w.Close();
  w.Open("workers");
  w.Integer("min", spec.min_workers);
  w.Integer("max", spec.max_workers);
  w.Word("device", spec.device);
  w.Word("split", spec.split);
  w.Word("deterministic", spec.deterministic ? "true" : "false");
  w.Close();
  w.Open("retry");
  w.Integer("budget", spec.retry_budget);
  w.Number("delay", spec.retry_delay);
  w.Number("longest_delay", spec.retry_longest_delay);
  w.Close();
  w.Open("checkpoint");
  w.Integer("every", spec.checkpoint_every);
  w.Integer("keep", spec.checkpoint_keep);
  w.Integer("keep_every", spec.checkpoint_keep_every);
  w.Word("keep_best", spec.checkpoint_keep_best ? "true" : "false");
  w.Close();
  w.Open("evaluation");
  w.Integer("every", spec.evaluate_every);
  w.Word("raw", spec.evaluate_raw ? "true" : "false");
  w.Word("prompts", TextList(spec.sample_prompts));
  w.Integer("sample_tokens", spec.sample_tokens);
  w.Close();
  w.Open("export");
  w.Word("format", spec.export_format.empty() ? "none" : spec.export_format);
  w.Word("head", spec.export_head);
  w.Close();
  return w.Take();
}

}  // namespace tritter
