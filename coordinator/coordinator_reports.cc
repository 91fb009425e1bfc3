// Report, curves and model card of a run that is complete, into its folder.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator.h"
#include "coordinator/report/run_report.h"
#include "proto/event_kinds.h"

namespace tritter {
namespace {

constexpr int64_t kReportedSteps = 1000;
constexpr int64_t kReportedEvaluations = 20000;

// All steps of a short run; of a long one as many, evenly spread, so that a report takes no longer.
absl::StatusOr<std::vector<v1::StepMetrics>> SomeMetrics(Store* store, const std::string& run_id,
                                                         int64_t steps) {
  if (steps <= 2 * kReportedSteps) return store->Metrics(run_id, 0, 0, 2 * kReportedSteps);
  std::vector<v1::StepMetrics> out;
  for (int64_t i = 1; i <= kReportedSteps; ++i) {
    const int64_t step = steps / kReportedSteps * i + std::min(i, steps % kReportedSteps);
    ASSIGN_OR_RETURN(const auto found, store->Metrics(run_id, step, step, 1));
    out.insert(out.end(), found.begin(), found.end());
  }
  return out;
}

// Of the newest step; empty when there are none.
std::string NewestSamples(Env* env, const std::string& run_dir) {
  const std::string folder = JoinPath(run_dir, "samples");
  if (!env->Exists(folder)) return "";
  const absl::StatusOr<std::vector<std::string>> names = env->ListDir(folder);
  if (!names.ok() || names->empty()) return "";
  return env->ReadFile(JoinPath(folder, *std::max_element(names->begin(), names->end())))
      .value_or("");
}

}  // namespace

absl::Status Coordinator::WriteReportFiles(const std::string& run_dir, RunReportInputs in) {
  const std::string& id = in.run.run_id();
  ASSIGN_OR_RETURN(in.metrics, SomeMetrics(store_, id, in.spec.steps));
  ASSIGN_OR_RETURN(in.evaluations, store_->Evaluations(id, 0, 0, kReportedEvaluations));
  in.samples_json = NewestSamples(env_, run_dir);
  const auto write = [&](const char* name, const std::string& text) {
    return WriteFileAtomically(env_, JoinPath(run_dir, name), text);
  };
  RETURN_IF_ERROR(write(kCurvesFile, ReportCurves(in)));
  RETURN_IF_ERROR(write(kModelCardFile, ModelCard(in)));
  return write(kReportFile, ReportPage(in));
}

void Coordinator::AddReport(const RunEntry& run, const RunRecord& next,
                            const v1::Artifact* artifact, WriteBatch* batch) {
  if (next.state != v1::RUN_STATE_COMPLETED || !IsTraining(run.spec)) return;
  RunReportInputs in;
  in.run = DescribeRun(run);
  in.run.set_state(next.state);
  in.run.set_reason(next.reason);
  in.run.set_finished_ms(next.finished_ms);
  if (artifact != nullptr) *in.run.add_artifacts() = *artifact;
  in.spec = run.spec;
  in.parameters = run.parameters;
  const std::string path = JoinPath(next.run_dir, kReportFile);
  const absl::Status written = Apart([&] { return WriteReportFiles(next.run_dir, std::move(in)); });
  if (!written.ok()) {
    // The run is complete all the same: what it is for is its weights.
    LogWarning("report_not_written", {{"run", next.run_id}, {"status", written.ToString()}});
    return;
  }
  batch->events.push_back(NewEvent(next.run_id, kEventRunReported,
                                   absl::StrCat("report, curves and model card are in ", path)));
}

}  // namespace tritter
