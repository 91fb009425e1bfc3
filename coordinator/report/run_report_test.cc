#include "coordinator/report/run_report.h"

#include <cmath>

#include "absl/strings/str_split.h"
#include "common/testing/status_matchers.h"
#include "common/yaml.h"

namespace tritter {
namespace {

using testing::HasSubstr;
using testing::Not;

RunReportInputs Inputs() {
  RunReportInputs in;
  in.parameters = 850'000;
  in.spec = *ParseRunSpec(
      "name: half\nmodel: {preset: nano, vocab: 264}\n"
      "data: {sources: [{name: plays, shards: a}, {name: verse, shards: b, weight: 3}], "
      "stages: {decay: {verse: 1}}}\n"
      "training: {steps: 100, global_batch: 10, sequence_length: 100, learning_rate: {decay: "
      "20}}\n",
      "run.yaml", "/");
  in.run.set_run_id("r-1");
  in.run.set_reason("trained 100 steps");
  in.run.set_spec_yaml(CanonicalYaml(in.spec));
  in.run.set_spec_hash("abc");
  for (int step = 1; step <= 100; ++step) {
    v1::StepMetrics m;
    m.set_step(step);
    m.set_loss(1.5 + 4 * std::exp(-step / 20.0));
    m.set_learning_rate(LrAt(step - 1, in.spec.schedule));
    m.set_step_seconds(0.05);
    m.set_backward_seconds(0.03);
    m.set_other_seconds(0.001);
    in.metrics.push_back(m);
    for (const char* source : {"plays", "verse"}) {
      for (const char* weights : {"averaged", "raw"}) {
        if (step % 50 != 0) continue;
        v1::EvaluationPoint e;
        e.set_step(step);
        e.set_source(source);
        e.set_weights(weights);
        e.set_loss(std::log(4.0));
        e.set_bits_per_byte(step == 100 ? 2.125 : 3.0);
        e.set_raw_bytes(1000);
        e.set_seconds(0.75);
        in.evaluations.push_back(e);
      }
    }
  }
  in.samples_json = R"({"samples": [{"prompt": "The ", "likeliest": "end", "drawn": "``` | x"}]})";
  return in;
}

TEST(RunReport, SaysWhatTheRunWasAndWhatCameOfIt) {
  const std::string page = ReportPage(Inputs());
  for (const char* part :
       {"# half\n", "![Curves of the run](curves.svg)",
        "| plays | averaged | 1.3863 | 4 | 2.1250 | 1000 |", "| verse | raw | 1.3863 |",
        "A step took 50 ms on average", "| 0.0 % | 0.0 % | 60.0 % | 0.0 % | 0.0 % | 2.0 % |",
        // A quarter of 80 steps; 100 of 1000 tokens each.
        "| plays | 20.0 % | 20.0 k | 1 | 0 |", "| verse | 80.0 % | 80.0 k | 3 | 1 |",
        "weight in the decay, from step 80", "The end\n", "The ''' | x\n", "850.0 k parameters",
        "| evaluation | 6 s in 2 evaluations of held-out text", "steps: 100"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("3.0000"))) << "only the last evaluation is in the table";
}

TEST(RunReport, AnExtendedRunSaysFromWhereItGoesOn) {
  RunReportInputs in = Inputs();
  EXPECT_THAT(ReportPage(in), Not(HasSubstr("goes on from")));
  in.spec.extend_run = "r-0";
  in.spec.extend_step = 40;
  EXPECT_THAT(ReportPage(in), HasSubstr("| goes on from | run r-0, step 40 |"));
  EXPECT_THAT(ModelCard(in), HasSubstr("| goes on from | run r-0, step 40 |"));
}

TEST(RunReport, CurvesShowLossHeldOutLossAndLearningRate) {
  const std::string svg = ReportCurves(Inputs());
  for (const char* part : {"<svg ", "loss, nats per token", "held-out bits per byte",
                           "learning rate", "held out: plays, averaged", "training, mean",
                           "stroke-dasharray", "optimiser steps", "</svg>"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(RunReport, AModelCardBeginsWithYamlThatHubsRead) {
  const std::string card = ModelCard(Inputs());
  const std::vector<std::string> parts = absl::StrSplit(card, absl::MaxSplits("---\n", 2));
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0], "");
  ASSERT_OK_AND_ASSIGN(YamlDocument front, YamlDocument::Parse(parts[1], "model_card.md"));
  std::string library;
  EXPECT_TRUE(front.Root().Get("library_name", &library));
  EXPECT_EQ(library, "tritter");
  const std::vector<YamlMap> models = front.Root().MapList("model-index");
  ASSERT_EQ(models.size(), 1u);
  YamlMap model = models[0];
  const std::vector<YamlMap> results = model.MapList("results");
  ASSERT_EQ(results.size(), 2u) << "the averaged weights' only";
  EXPECT_THAT(parts[1], HasSubstr("{type: bits_per_byte, value: 2.1250}"));
  EXPECT_THAT(parts[2], HasSubstr("850.0 k parameters (4 layers of width 128)"));
  EXPECT_THAT(parts[2], HasSubstr("100.0 k tokens"));
}

TEST(RunReport, ARunWithoutEvaluationsSamplesOrMetricsIsReportedToo) {
  RunReportInputs in = Inputs();
  in.metrics.clear();
  in.evaluations.clear();
  in.samples_json = "damaged";
  EXPECT_THAT(ReportPage(in), HasSubstr("No source has held-out documents"));
  EXPECT_THAT(ReportPage(in), Not(HasSubstr("What it writes")));
  EXPECT_THAT(ReportCurves(in), Not(HasSubstr("nan")));
  EXPECT_THAT(ModelCard(in), Not(HasSubstr("model-index")));
}

}  // namespace
}  // namespace tritter
