// Between workers.proto and the domain types of plan.h. No decisions here.
#pragma once

#include "absl/status/statusor.h"
#include "tritter/v1/workers.pb.h"
#include "worker/coordinator_link.h"
#include "worker/plan.h"

namespace tritter {

Assignment FromProto(const v1::Assignment& proto);
// InvalidArgument: an unknown decay shape; Internal: an answer of a kind this version does not
// know.
absl::StatusOr<PlanAnswer> FromProto(const v1::NextPlanResponse& proto);
absl::StatusOr<Plan> FromProto(const v1::Plan& proto);

// Everything but the identity fields.
void ToProto(const Progress& progress, v1::ReportRequest* proto);
v1::StepMetrics ToProto(const StepReport& report);
v1::EvaluationPoint ToProto(const EvaluationReport& report);
// The steps and evaluations of a report.
Progress FromProto(const v1::ReportRequest& proto);
v1::CheckpointFile ToProto(const ManifestFile& file);

}  // namespace tritter
