#include "tests/chaos/course.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace tritter::chaos {
namespace {

absl::Status FromGrpc(const grpc::Status& s) {
  return absl::Status(static_cast<absl::StatusCode>(s.error_code()), s.error_message());
}

// Of `run`, or with "" those of no run.
absl::Status AddEvents(e2e::Cluster& cluster, const std::string& run, Course* course) {
  grpc::ClientContext context;
  v1::ListEventsRequest request;
  request.set_run(run);
  request.set_limit(10000);
  v1::ListEventsResponse response;
  RETURN_IF_ERROR(FromGrpc(cluster.runs().ListEvents(&context, request, &response)));
  for (const v1::Event& e : response.events()) {
    if (!run.empty() || e.run_id().empty()) course->events.push_back(e);
  }
  return absl::OkStatus();
}

bool SameStep(const v1::StepMetrics& a, const v1::StepMetrics& b) {
  return a.step() == b.step() && a.loss() == b.loss() && a.grad_norm() == b.grad_norm() &&
         a.learning_rate() == b.learning_rate() && a.tokens() == b.tokens();
}

}  // namespace

int64_t Course::CountEvents(const std::string& kind, const std::string& words) const {
  return std::count_if(events.begin(), events.end(), [&](const v1::Event& e) {
    return e.kind() == kind && absl::StrContains(e.message(), words);
  });
}

std::string Course::EventTexts() const {
  std::string out;
  for (const v1::Event& e : events) absl::StrAppend(&out, e.kind(), ": ", e.message(), "\n");
  return out;
}

absl::Status ReadSteps(e2e::Cluster& cluster, const std::string& run, Course* course) {
  v1::ListMetricsRequest request;
  request.set_run(run);
  request.set_limit(5000);
  course->steps.clear();
  course->evaluations.clear();
  do {
    grpc::ClientContext context;
    v1::ListMetricsResponse response;
    RETURN_IF_ERROR(FromGrpc(cluster.runs().ListMetrics(&context, request, &response)));
    course->steps.insert(course->steps.end(), response.steps().begin(), response.steps().end());
    course->evaluations.insert(course->evaluations.end(), response.evaluations().begin(),
                               response.evaluations().end());
    request.set_first_step(response.next_step());
  } while (request.first_step() != 0);
  return absl::OkStatus();
}

absl::StatusOr<Course> ReadCourse(e2e::Cluster& cluster, const std::string& run) {
  Course course;
  ASSIGN_OR_RETURN(course.run, cluster.Get(run));
  RETURN_IF_ERROR(ReadSteps(cluster, run, &course));
  for (size_t i = 0; i < course.steps.size(); ++i) {
    if (course.steps[i].step() == static_cast<int64_t>(i) + 1) continue;
    return absl::DataLossError(
        absl::StrCat("place ", i + 1, " of the record is step ", course.steps[i].step()));
  }
  if (static_cast<int64_t>(course.steps.size()) != course.run.total_steps()) {
    return absl::DataLossError(absl::StrCat("the record has ", course.steps.size(), " steps of ",
                                            course.run.total_steps()));
  }
  RETURN_IF_ERROR(AddEvents(cluster, run, &course));
  RETURN_IF_ERROR(AddEvents(cluster, "", &course));
  ASSIGN_OR_RETURN(course.state, e2e::ReadState(course.run.run_dir(), course.run.total_steps()));
  return course;
}

std::string DifferenceOfWork(const Course& a, const Course& b) {
  if (a.steps.size() != b.steps.size())
    return absl::StrCat(a.steps.size(), " steps against ", b.steps.size());
  for (size_t i = 0; i < a.steps.size(); ++i) {
    if (SameStep(a.steps[i], b.steps[i])) continue;
    return absl::StrFormat("step %d: loss %.17g against %.17g, gradient norm %.17g against %.17g",
                           a.steps[i].step(), a.steps[i].loss(), b.steps[i].loss(),
                           a.steps[i].grad_norm(), b.steps[i].grad_norm());
  }
  if (a.evaluations.size() != b.evaluations.size())
    return absl::StrCat(a.evaluations.size(), " evaluations against ", b.evaluations.size());
  for (size_t i = 0; i < a.evaluations.size(); ++i) {
    const v1::EvaluationPoint &x = a.evaluations[i], &y = b.evaluations[i];
    if (x.step() == y.step() && x.source() == y.source() && x.weights() == y.weights() &&
        x.loss() == y.loss())
      continue;
    return absl::StrFormat("evaluation of step %d, %s: loss %.17g against step %d: %.17g", x.step(),
                           x.weights(), x.loss(), y.step(), y.loss());
  }
  return e2e::Difference(a.state, b.state);
}

int64_t StepsThatDiffer(const Course& a, const Course& b) {
  const size_t both = std::min(a.steps.size(), b.steps.size());
  int64_t differ = static_cast<int64_t>(std::max(a.steps.size(), b.steps.size()) - both);
  for (size_t i = 0; i < both; ++i) differ += !SameStep(a.steps[i], b.steps[i]);
  return differ;
}

}  // namespace tritter::chaos
