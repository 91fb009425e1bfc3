#include "coordinator/report_checks.h"

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "coordinator/decide/words.h"
#include "coordinator/errors.h"
#include "model/utf8.h"

namespace tritter {
namespace {

constexpr int64_t kMaxTokensOfStep = int64_t{1} << 40;
constexpr double kMaxSeconds = 1e7;  // a third of a year
constexpr size_t kMaxShown = 64;     // of a name that is refused

absl::Status Refused(const std::string& field, const std::string& actual,
                     const std::string& expected) {
  v1::ErrorDetail detail;
  detail.set_field(field);
  detail.set_actual(actual);
  detail.set_expected(expected);
  return TypedError(absl::StatusCode::kInvalidArgument, detail,
                    absl::StrCat(field, " is ", actual, ", taken is ", expected));
}

absl::Status CheckSeconds(const std::string& field, double seconds) {
  if (std::isfinite(seconds) && seconds >= 0 && seconds <= kMaxSeconds) return absl::OkStatus();
  return Refused(field, absl::StrCat(seconds), absl::StrCat("0 to ", kMaxSeconds, " seconds"));
}

absl::Status CheckCount(const std::string& field, int64_t count, int64_t most) {
  if (count >= 0 && count <= most) return absl::OkStatus();
  return Refused(field, absl::StrCat(count), absl::StrCat("0 to ", most));
}

absl::Status CheckStep(const v1::StepMetrics& m) {
  const auto field = [&](const char* name) {
    return absl::StrCat("steps: ", name, " of step ", m.step());
  };
  RETURN_IF_ERROR(CheckCount(field("tokens"), m.tokens(), kMaxTokensOfStep));
  const std::pair<const char*, double> parts[] = {
      {"step_seconds", m.step_seconds()},       {"data_seconds", m.data_seconds()},
      {"forward_seconds", m.forward_seconds()}, {"backward_seconds", m.backward_seconds()},
      {"reduce_seconds", m.reduce_seconds()},   {"optimizer_seconds", m.optimizer_seconds()},
      {"other_seconds", m.other_seconds()}};
  for (const auto& [name, seconds] : parts) RETURN_IF_ERROR(CheckSeconds(field(name), seconds));
  return CheckCount(field("sent_bytes"), m.sent_bytes(), std::numeric_limits<int64_t>::max());
}

absl::Status CheckEvaluation(const v1::EvaluationPoint& e, const std::vector<std::string>& sources,
                             int64_t last_step) {
  RETURN_IF_ERROR(CheckCount("evaluations: step", e.step(), last_step));
  if (!absl::c_linear_search(sources, e.source())) {
    return Refused("evaluations: source",
                   absl::StrCat("\"", ShowableUtf8(e.source(), kMaxShown), "\""),
                   sources.empty() ? "none: the run's configuration cannot be read here"
                                   : absl::StrCat("a source of the run: ", JoinWords(sources)));
  }
  if (e.weights() != "averaged" && e.weights() != "raw") {
    return Refused("evaluations: weights",
                   absl::StrCat("\"", ShowableUtf8(e.weights(), kMaxShown), "\""),
                   "\"averaged\" or \"raw\"");
  }
  const auto field = [&](const char* name) {
    return absl::StrCat("evaluations: ", name, " of ", e.source(), " at step ", e.step());
  };
  for (const auto& [name, value] :
       {std::pair<const char*, double>{"loss", e.loss()}, {"bits_per_byte", e.bits_per_byte()}}) {
    if (!std::isfinite(value) || value < 0)
      return Refused(field(name), absl::StrCat(value), "a finite number from 0 on");
  }
  RETURN_IF_ERROR(CheckCount(field("tokens"), e.tokens(), std::numeric_limits<int64_t>::max()));
  RETURN_IF_ERROR(
      CheckCount(field("raw_bytes"), e.raw_bytes(), std::numeric_limits<int64_t>::max()));
  return CheckSeconds(field("seconds"), e.seconds());
}

}  // namespace

absl::Status CheckReport(const v1::ReportRequest& r) {
  if (r.steps_size() > kMaxStepsInReport || r.evaluations_size() > kMaxEvaluationsInReport ||
      r.log_lines_size() > kMaxLinesInReport) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a report takes at most ", kMaxStepsInReport, " steps, ", kMaxEvaluationsInReport,
        " evaluations and ", kMaxLinesInReport, " lines; send several"));
  }
  std::set<int64_t> steps;
  for (const v1::StepMetrics& m : r.steps()) {
    RETURN_IF_ERROR(CheckStep(m));
    if (!steps.insert(m.step()).second) {
      return Refused("steps: step", absl::StrCat(m.step(), " more than once"),
                     "each step once in a report");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEvaluations(const v1::ReportRequest& report, const RunSpec& spec,
                              int64_t last_step) {
  std::vector<std::string> sources;
  for (const SourceSpec& source : spec.sources) sources.push_back(source.name);
  for (const v1::EvaluationPoint& e : report.evaluations())
    RETURN_IF_ERROR(CheckEvaluation(e, sources, last_step));
  return absl::OkStatus();
}

absl::Status CheckHeartbeat(const v1::Heartbeat& heartbeat) {
  return CheckSeconds("seconds_per_sequence", heartbeat.seconds_per_sequence());
}

int64_t SaturatedSum(int64_t a, int64_t b) {
  return a > std::numeric_limits<int64_t>::max() - b ? std::numeric_limits<int64_t>::max() : a + b;
}

}  // namespace tritter
