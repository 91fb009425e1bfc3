#include "coordinator/decide/fair_share.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

int64_t UsedBy(const std::string& project, const ProjectShares& shares) {
  const auto it = shares.used.find(project);
  return it == shares.used.end() ? 0 : it->second;
}

}  // namespace

double ProjectShares::WeightOf(const std::string& project) const {
  const auto it = weights.find(project);
  return it == weights.end() ? 1.0 : it->second;
}

double ProjectShares::LoadOf(const std::string& project) const {
  return static_cast<double>(UsedBy(project, *this)) / WeightOf(project);
}

ProjectQueue::ProjectQueue(absl::Span<const QueuedRun> runs, ProjectShares shares)
    : runs_(runs), shares_(std::move(shares)) {
  for (size_t i = 0; i < runs.size(); ++i) left_[runs[i].project].push_back(static_cast<int>(i));
  for (auto& [project, indices] : left_) {
    std::sort(indices.begin(), indices.end(), [&](int a, int b) { return HeadOf(b) < HeadOf(a); });
    Add(project);
  }
}

ProjectQueue::Head ProjectQueue::HeadOf(int run) const {
  const QueuedRun& r = runs_[run];
  return {-r.priority, !r.interrupted, shares_.LoadOf(r.project), r.created_ms, r.run_id, run};
}

void ProjectQueue::Add(const std::string& project) {
  const std::vector<int>& left = left_.at(project);
  if (!left.empty()) heads_.insert(HeadOf(left.back()));
}

int ProjectQueue::Next() {
  const int run = std::get<5>(*heads_.begin());
  heads_.erase(heads_.begin());
  left_.at(runs_[run].project).pop_back();
  Add(runs_[run].project);
  return run;
}

void ProjectQueue::Take(int run, int64_t workers) {
  const std::string& project = runs_[run].project;
  const std::vector<int>& left = left_.at(project);
  if (!left.empty()) heads_.erase(HeadOf(left.back()));
  shares_.used[project] += workers;
  Add(project);
}

std::string AheadByShare(const QueuedRun& run, const QueuedRun& ahead,
                         const std::string& ahead_name, const ProjectShares& shares,
                         const std::set<std::string>& projects, int64_t workers) {
  if (run.project == ahead.project || run.priority != ahead.priority || ahead.interrupted ||
      shares.LoadOf(run.project) <= shares.LoadOf(ahead.project))
    return "";
  double weights = 0;
  for (const std::string& project : projects) weights += shares.WeightOf(project);
  const double share = static_cast<double>(workers) * shares.WeightOf(run.project) / weights;
  return absl::StrCat("project ", run.project, " uses ", UsedBy(run.project, shares), " of ",
                      Count(workers, "worker"), ", its share is ", absl::StrFormat("%.3g", share),
                      "; ", ahead_name, " of project ", ahead.project, ", which uses ",
                      UsedBy(ahead.project, shares), ", is ahead");
}

}  // namespace tritter
