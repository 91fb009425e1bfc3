// What is left of a run for people: a page with its course, a picture of its curves, a model card.
// Pure functions over what the coordinator has stored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/run_spec.h"
#include "tritter/v1/runs.pb.h"

namespace tritter {

struct RunReportInputs {
  v1::Run run;  // as it is described once it is complete
  RunSpec spec;
  int64_t parameters = 0;
  std::vector<v1::StepMetrics> metrics;          // by step; of a long run some of them
  std::vector<v1::EvaluationPoint> evaluations;  // by step
  std::string samples_json;                      // the newest samples, or empty
};

inline constexpr char kReportFile[] = "report.md";
inline constexpr char kCurvesFile[] = "curves.svg";
inline constexpr char kModelCardFile[] = "model_card.md";

std::string ReportPage(const RunReportInputs& in);
// Training and held-out loss, bits per byte, learning rate over the steps.
std::string ReportCurves(const RunReportInputs& in);
// Markdown with the YAML front matter that model hubs read.
std::string ModelCard(const RunReportInputs& in);

}  // namespace tritter
