#include "worker/recent_reports.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/plan_proto.h"

namespace tritter {
namespace {

template <typename T>
void KeepNewest(std::vector<T>* v, size_t max) {
  if (v->size() > max) v->erase(v->begin(), v->end() - static_cast<ptrdiff_t>(max));
}

}  // namespace

void RecentReports::Add(StepReport report) {
  MutexLock lock(&mu_);
  reports_.steps.push_back(std::move(report));
  // Not one by one: each would move all the others.
  if (reports_.steps.size() > 2 * max_steps_) KeepNewest(&reports_.steps, max_steps_);
}

void RecentReports::Add(EvaluationReport report) {
  MutexLock lock(&mu_);
  reports_.evaluations.push_back(std::move(report));
  if (reports_.evaluations.size() > 2 * max_steps_) KeepNewest(&reports_.evaluations, max_steps_);
}

void RecentReports::Forget(int64_t step) {
  const auto known = [&](const auto& report) { return report.step <= step; };
  MutexLock lock(&mu_);
  std::erase_if(reports_.steps, known);
  std::erase_if(reports_.evaluations, known);
}

bool RecentReports::Evaluated(int64_t step) const {
  MutexLock lock(&mu_);
  return std::any_of(reports_.evaluations.begin(), reports_.evaluations.end(),
                     [&](const EvaluationReport& e) { return e.step == step; });
}

Progress RecentReports::Get() const {
  MutexLock lock(&mu_);
  Progress reports = reports_;
  KeepNewest(&reports.steps, max_steps_);
  KeepNewest(&reports.evaluations, max_steps_);
  return reports;
}

void RecentReports::Set(Progress reports) {
  MutexLock lock(&mu_);
  reports_ = std::move(reports);
}

absl::Status ShareReports(int root, Collective* collective, RecentReports* reports) {
  if (collective->world_size() == 1) return absl::OkStatus();
  std::string bytes;
  if (collective->rank() == root) {
    v1::ReportRequest message;
    ToProto(reports->Get(), &message);
    bytes = message.SerializeAsString();
  }
  auto size = static_cast<int64_t>(bytes.size());
  RETURN_IF_ERROR(collective->Broadcast(&size, sizeof(size), root));
  if (size == 0) {
    reports->Set({});
    return absl::OkStatus();
  }
  bytes.resize(static_cast<size_t>(size));
  RETURN_IF_ERROR(collective->Broadcast(bytes.data(), size, root));
  v1::ReportRequest message;
  if (!message.ParseFromString(bytes)) {
    return absl::DataLossError(
        absl::StrCat("the ", size, " bytes of reports that rank ", root,
                     " gave with its state cannot be read; are all workers of one version?"));
  }
  reports->Set(FromProto(message));
  return absl::OkStatus();
}

}  // namespace tritter
