#include "coordinator/report/run_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "coordinator/report/svg_curves.h"
#include "model/yaml_text.h"
#include "nlohmann/json.hpp"

namespace tritter {
namespace {

constexpr char kTraining[] = "#4c78a8", kRate[] = "#72787e";
// Of the sources' held-out curves, in turn.
constexpr const char* kHeldOut[] = {"#e45756", "#54a24b", "#f58518",
                                    "#b279a2", "#eeca3b", "#9d755d"};

std::string Count(double n) {
  if (n < 1e4) return absl::StrFormat("%.0f", n);
  if (n < 1e6) return absl::StrFormat("%.1f k", n / 1e3);
  if (n < 1e9) return absl::StrFormat("%.2f M", n / 1e6);
  return absl::StrFormat("%.2f G", n / 1e9);
}

std::string When(int64_t ms) {
  return ms == 0 ? "-"
                 : absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::FromUnixMillis(ms),
                                    absl::UTCTimeZone());
}

int64_t TokensOf(const RunSpec& spec) {
  return spec.steps * spec.global_batch * spec.sequence_length;
}

// Text in a table's cell, or between marks of code.
std::string Cell(const std::string& text) { return absl::StrReplaceAll(text, {{"|", "\\|"}}); }

// The text as a block of code, whatever it holds.
std::string CodeBlock(const std::string& text) {
  std::string out = "```\n" + absl::StrReplaceAll(text, {{"```", "'''"}});
  if (out.back() != '\n') out += "\n";
  return out + "```\n";
}

constexpr size_t kStepsInMean = 100;

// Means over a sliding window of a fiftieth of the points.
std::vector<std::pair<double, double>> Smoothed(
    const std::vector<std::pair<double, double>>& points) {
  const size_t half = points.size() / kStepsInMean;
  std::vector<std::pair<double, double>> out;
  double sum = 0;
  size_t begin = 0, end = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    while (end < std::min(points.size(), i + half + 1)) sum += points[end++].second;
    while (begin + half < i) sum -= points[begin++].second;
    out.emplace_back(points[i].first, sum / static_cast<double>(end - begin));
  }
  return out;
}

// How many samples of each source the stages ask for, up to the rounding of a block.
std::vector<double> SamplesOfSources(const RunSpec& spec) {
  std::vector<double> samples(spec.sources.size());
  std::vector<int64_t> borders = {0};
  for (const StageSpec& stage : spec.stages) borders.push_back(std::min(stage.from, spec.steps));
  borders.push_back(spec.steps);
  for (size_t s = 0; s + 1 < borders.size(); ++s) {
    if (borders[s + 1] <= borders[s]) continue;
    const std::vector<double> weights = WeightsAt(spec, borders[s]);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    const double slots = static_cast<double>((borders[s + 1] - borders[s]) * spec.global_batch);
    for (size_t i = 0; i < samples.size(); ++i) samples[i] += slots * weights[i] / sum;
  }
  return samples;
}

// The last evaluation of each source and weights, in the order in which they came.
std::vector<v1::EvaluationPoint> LastEvaluations(const RunReportInputs& in) {
  const int64_t step = in.evaluations.empty() ? 0 : in.evaluations.back().step();
  std::vector<v1::EvaluationPoint> out;
  for (const v1::EvaluationPoint& e : in.evaluations) {
    if (e.step() == step) out.push_back(e);
  }
  return out;
}

std::string EvaluationTable(const RunReportInputs& in) {
  std::string out =
      "| source | weights | loss (nats/token) | perplexity | bits per byte | bytes |\n"
      "|---|---|---|---|---|---|\n";
  for (const v1::EvaluationPoint& e : LastEvaluations(in)) {
    absl::StrAppendFormat(&out, "| %s | %s | %.4f | %.4g | %.4f | %d |\n", Cell(e.source()),
                          e.weights(), e.loss(), std::exp(e.loss()), e.bits_per_byte(),
                          e.raw_bytes());
  }
  return out;
}

std::string DataTable(const RunSpec& spec) {
  const std::vector<double> samples = SamplesOfSources(spec);
  const double all = std::accumulate(samples.begin(), samples.end(), 0.0);
  std::string out = "| source | share | tokens |";
  std::string rule = "\n|---|---|---|";
  std::vector<std::pair<std::string, std::vector<double>>> stages;
  if (!spec.stages.empty()) {
    if (spec.stages[0].from > 0) stages.emplace_back("weight from step 0", WeightsAt(spec, 0));
    for (const StageSpec& stage : spec.stages) {
      stages.emplace_back(
          absl::StrCat(stage.at_decay ? "weight in the decay, from step " : "weight from step ",
                       stage.from),
          WeightsAt(spec, stage.from));
    }
  }
  for (const auto& [title, weights] : stages) {
    absl::StrAppend(&out, " ", title, " |");
    absl::StrAppend(&rule, "---|");
  }
  absl::StrAppend(&out, rule, "\n");
  for (size_t i = 0; i < spec.sources.size(); ++i) {
    absl::StrAppendFormat(&out, "| %s | %.1f %% | %s |", Cell(spec.sources[i].name),
                          100 * samples[i] / all,
                          Count(samples[i] * static_cast<double>(spec.sequence_length)));
    for (const auto& [title, weights] : stages) absl::StrAppendFormat(&out, " %g |", weights[i]);
    out += "\n";
  }
  return out;
}

std::string SamplesText(const std::string& samples_json) {
  const auto json = nlohmann::json::parse(samples_json, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("samples") || !json["samples"].is_array()) return "";
  std::string out;
  for (const auto& sample : json["samples"]) {
    const auto text = [&](const char* key) {
      return sample.is_object() && sample.contains(key) && sample[key].is_string()
                 ? sample[key].get<std::string>()
                 : std::string();
    };
    absl::StrAppend(&out, "The likeliest continuation, then one drawn:\n\n",
                    CodeBlock(text("prompt") + text("likeliest")), "\n",
                    CodeBlock(text("prompt") + text("drawn")), "\n");
  }
  return out;
}

// Where a step's time went, over all steps that are known.
std::string TimeTable(const RunReportInputs& in) {
  double step = 0, data = 0, forward = 0, backward = 0, reduce = 0, optimizer = 0, other = 0;
  for (const v1::StepMetrics& m : in.metrics) {
    step += m.step_seconds();
    data += m.data_seconds();
    forward += m.forward_seconds();
    backward += m.backward_seconds();
    reduce += m.reduce_seconds();
    optimizer += m.optimizer_seconds();
    other += m.other_seconds();
  }
  if (step <= 0) return "";
  const double mean = step / static_cast<double>(in.metrics.size());
  std::string out = absl::StrFormat(
      "A step took %.4g ms on average.\n\n| data wait | forward | backward | reduce | optimizer | "
      "other |\n|---|---|---|---|---|---|\n|",
      mean * 1e3);
  for (const double part : {data, forward, backward, reduce, optimizer, other})
    absl::StrAppendFormat(&out, " %.1f %% |", 100 * part / step);
  return out + "\n";
}

// How many evaluations there were, and the seconds they took.
std::pair<int64_t, double> EvaluationTime(const RunReportInputs& in) {
  int64_t evaluations = 0, step = -1;
  double seconds = 0;
  for (const v1::EvaluationPoint& e : in.evaluations) {
    evaluations += e.step() != step;
    step = e.step();
    seconds += e.seconds();
  }
  return {evaluations, seconds};
}

std::string TrainingTable(const RunReportInputs& in) {
  const RunSpec& s = in.spec;
  const ScheduleSpec& lr = s.schedule;
  const double seconds = in.run.reported_seconds();
  std::string out = "| | |\n|---|---|\n";
  const auto row = [&](const char* key, const std::string& value) {
    absl::StrAppend(&out, "| ", key, " | ", Cell(value), " |\n");
  };
  row("model", absl::StrCat(s.model.preset.empty() ? "own sizes" : s.model.preset, ", ",
                            FamilyName(s.model.family), ", ",
                            Count(static_cast<double>(in.parameters)), " parameters"));
  if (!s.extend_run.empty())
    row("goes on from", absl::StrCat("run ", s.extend_run, ", step ", s.extend_step));
  row("steps", absl::StrCat(s.steps, " of ", s.global_batch, " sequences of ", s.sequence_length,
                            " tokens: ", Count(static_cast<double>(TokensOf(s))), " tokens"));
  row("optimiser", absl::StrFormat("%s, weight decay %g, clipping at %g", s.optimizer,
                                   s.weight_decay, s.clip_norm));
  if (IsOuter(s)) {
    row("sync",
        absl::StrFormat("outer: mean of the weights every %d steps, rate %g, momentum %g, "
                        "compression %s",
                        s.outer_steps, s.outer_rate, s.outer_momentum, s.outer_compression));
  }
  row("learning rate",
      absl::StrFormat("%g, warm-up %d steps, %s decay from step %d to %g", lr.peak, lr.warmup_steps,
                      DecayShapeName(lr.shape), lr.decay_start_step, lr.min));
  row("seed", absl::StrCat(s.seed));
  if (!in.metrics.empty()) {
    row("training loss",
        absl::StrFormat("%.4f at step %d, %.4f at step %d", in.metrics[0].loss(),
                        in.metrics[0].step(), in.metrics.back().loss(), in.metrics.back().step()));
  }
  if (seconds > 0) {
    row("speed",
        absl::StrFormat("%s tokens/s over %.0f s of training",
                        Count(static_cast<double>(in.run.reported_tokens()) / seconds), seconds));
  }
  if (const auto [evaluations, took] = EvaluationTime(in); took > 0) {
    row("evaluation",
        absl::StrFormat("%.3g s in %d evaluation%s of held-out text, beside the training", took,
                        evaluations, evaluations == 1 ? "" : "s"));
  }
  row("started, finished",
      absl::StrCat(When(in.run.started_ms()), ", ", When(in.run.finished_ms())));
  if (in.run.epochs_lost() > 0)
    row("interruptions", absl::StrCat(in.run.epochs_lost(), " (nothing of them is in the model)"));
  for (const v1::Artifact& a : in.run.artifacts())
    row(a.kind().c_str(), absl::StrCat(a.path(), ", SHA-256 ", a.sha256()));
  return out;
}

}  // namespace

std::string ReportCurves(const RunReportInputs& in) {
  CurveSeries training{"training, each step", kTraining, {}, 1.0, false, true};
  CurveSeries rate{"", kRate, {}};
  for (const v1::StepMetrics& m : in.metrics) {
    const double step = static_cast<double>(m.step());
    training.points.emplace_back(step, m.loss());
    rate.points.emplace_back(step, m.learning_rate());
  }
  CurveSeries mean{"training, mean", kTraining, Smoothed(training.points)};
  CurvePanel loss{"loss, nats per token", 300, {training}};
  // Of a short run the mean is over single steps: the same line again.
  if (training.points.size() >= kStepsInMean) loss.series.push_back(mean);
  CurvePanel bits{"held-out bits per byte", 180, {}};
  std::map<std::string, size_t> colours;  // by source
  std::map<std::pair<std::string, std::string>, std::pair<CurveSeries, CurveSeries>> held_out;
  for (const v1::EvaluationPoint& e : in.evaluations) {
    const size_t colour = colours.emplace(e.source(), colours.size()).first->second;
    auto& [of_loss, of_bits] = held_out[{e.source(), e.weights()}];
    of_loss.label = absl::StrCat(e.source(), ", ", e.weights());
    of_loss.colour = kHeldOut[colour % std::size(kHeldOut)];
    of_loss.dashed = e.weights() == "raw";
    of_loss.dots = !of_loss.dashed;
    of_loss.points.emplace_back(static_cast<double>(e.step()), e.loss());
    of_bits.points.emplace_back(static_cast<double>(e.step()), e.bits_per_byte());
  }
  for (auto& [key, curves] : held_out) {
    auto& [of_loss, of_bits] = curves;
    std::vector<std::pair<double, double>> points = std::move(of_bits.points);
    of_bits = of_loss;
    of_bits.points = std::move(points);
    of_loss.label = absl::StrCat("held out: ", of_loss.label);
    loss.series.push_back(of_loss);
    bits.series.push_back(of_bits);
  }
  std::vector<CurvePanel> panels = {loss};
  if (!bits.series.empty()) panels.push_back(bits);
  panels.push_back({"learning rate", 110, {rate}, /*from_zero=*/true});
  return SvgCurves(in.spec.name, "optimiser steps", static_cast<double>(in.spec.steps), panels);
}

std::string ReportPage(const RunReportInputs& in) {
  std::string out =
      absl::StrCat("# ", in.spec.name, "\n\nRun ", in.run.run_id(), ": ", in.run.reason(),
                   ".\n\n![Curves of the run](", kCurvesFile, ")\n\n## Held-out text\n\n");
  if (in.evaluations.empty()) {
    absl::StrAppend(&out, "No source has held-out documents.\n");
  } else {
    absl::StrAppend(&out, "At step ", in.evaluations.back().step(),
                    ", over non-overlapping windows:\n\n", EvaluationTable(in));
  }
  absl::StrAppend(&out, "\n## Training\n\n", TrainingTable(in), "\n", TimeTable(in),
                  "\n## Data\n\n", DataTable(in.spec));
  if (const std::string samples = SamplesText(in.samples_json); !samples.empty())
    absl::StrAppend(&out, "\n## What it writes\n\n", samples);
  absl::StrAppend(&out, "\n## Configuration\n\nSHA-256 ", in.run.spec_hash(), "\n\n```yaml\n",
                  in.run.spec_yaml(), "```\n");
  return out;
}

std::string ModelCard(const RunReportInputs& in) {
  const RunSpec& s = in.spec;
  std::string out = "---\nlibrary_name: tritter\npipeline_tag: text-generation\ntags:\n";
  absl::StrAppend(&out, "  - ", FamilyName(s.model.family), "\n  - ",
                  s.model.weight_rule == WeightRule::kNone ? "full-precision" : "ternary", "\n");
  absl::StrAppend(&out, "datasets:\n");
  for (const SourceSpec& source : s.sources)
    absl::StrAppend(&out, "  - ", YamlQuoted(source.name), "\n");
  std::string results;
  for (const v1::EvaluationPoint& e : LastEvaluations(in)) {
    if (e.weights() == "raw") continue;  // what is exported is the average
    absl::StrAppend(&results, "      - task: {type: text-generation}\n        dataset: {name: ",
                    YamlQuoted(e.source()), ", type: ", YamlQuoted(e.source()),
                    ", split: heldout}\n        metrics:\n");
    absl::StrAppendFormat(&results, "          - {type: bits_per_byte, value: %.4f}\n",
                          e.bits_per_byte());
    absl::StrAppendFormat(&results, "          - {type: perplexity, value: %.4f}\n",
                          std::exp(e.loss()));
  }
  if (!results.empty()) {
    absl::StrAppend(&out, "metrics:\n  - bits_per_byte\n  - perplexity\nmodel-index:\n  - name: ",
                    YamlQuoted(s.name), "\n    results:\n", results);
  }
  absl::StrAppend(
      &out, "---\n\n# ", s.name, "\n\nA language model of ",
      Count(static_cast<double>(in.parameters)), " parameters (", s.model.layers,
      " layers of width ", s.model.hidden, "), trained from random weights on ",
      Count(static_cast<double>(TokensOf(s))),
      " tokens of the data below and on nothing "
      "else. It continues text; it was not tuned to answer, and it repeats what its data "
      "hold.\n\n## Data\n\n",
      DataTable(s), "\n## Results on held-out documents\n\n",
      in.evaluations.empty() ? "None: no source has held-out documents.\n" : EvaluationTable(in),
      "\n## Training\n\n", TrainingTable(in), "\n## Configuration\n\n```yaml\n", in.run.spec_yaml(),
      "```\n");
  return out;
}

}  // namespace tritter
