// What of a worker's figures is taken. They become sums, curves and metrics that people go by: one
// figure that is not a number would make all of them worthless.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "model/run_spec.h"
#include "tritter/v1/workers.pb.h"

namespace tritter {

inline constexpr int kMaxStepsInReport = 10000;
inline constexpr int kMaxEvaluationsInReport = 1000;
inline constexpr int kMaxLinesInReport = 500;

// Errors of all three: InvalidArgument with the field, its value and what is taken.

// The sizes of a report and the figures of its steps. A loss that is not finite is taken: the
// worker fails by itself over it, and people see at which step.
absl::Status CheckReport(const v1::ReportRequest& report);

// Evaluations are of the run's sources, of weights that there are, of steps up to `last_step`.
absl::Status CheckEvaluations(const v1::ReportRequest& report, const RunSpec& spec,
                              int64_t last_step);

absl::Status CheckHeartbeat(const v1::Heartbeat& heartbeat);

// a + b with b >= 0; the largest number where that would be beyond it.
int64_t SaturatedSum(int64_t a, int64_t b);

}  // namespace tritter
