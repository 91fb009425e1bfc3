// What a finished run leaves, and whether two runs did the same committed work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/e2e/cluster.h"

namespace tritter::chaos {

struct Course {
  v1::Run run;
  std::vector<v1::StepMetrics> steps;
  std::vector<v1::EvaluationPoint> evaluations;
  // Of the run, then those of no run: coordinators, workers that belonged to none.
  std::vector<v1::Event> events;
  e2e::State state;  // after the last step

  int64_t CountEvents(const std::string& kind, const std::string& words = "") const;
  std::string EventTexts() const;  // for messages
};

// The steps a run has on record, with the evaluations, in order.
absl::Status ReadSteps(e2e::Cluster& cluster, const std::string& run, Course* course);
// Of a run that is complete. DataLoss: its record does not have every step once.
absl::StatusOr<Course> ReadCourse(e2e::Cluster& cluster, const std::string& run);

// "" when both trained the same samples in the same order: losses, gradient norms and rates of
// every step, evaluations and the final state are equal bit for bit. Else the first difference.
std::string DifferenceOfWork(const Course& a, const Course& b);
// Steps whose loss is another: each is a batch that was skipped, doubled or mixed up, or comes
// after one.
int64_t StepsThatDiffer(const Course& a, const Course& b);

}  // namespace tritter::chaos
