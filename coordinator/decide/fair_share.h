// Whose turn it is among the projects that runs belong to: of runs of one priority, that of the
// project which uses the least of its share of the workers. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/types/span.h"

namespace tritter {

struct ProjectShares {
  std::map<std::string, double> weights = {};  // > 0; of a project that is not here: 1
  std::map<std::string, int64_t> used = {};    // workers that train for it now

  double WeightOf(const std::string& project) const;
  // Workers in use for each part of weight: who has the least is served first.
  double LoadOf(const std::string& project) const;
};

// What of a run decides when it is served.
struct QueuedRun {
  std::string run_id, project;
  int64_t priority = 0;
  int64_t created_ms = 0;
  bool interrupted = false;  // its epoch was lost: it has its place, and is to go on
};

// Runs one after the other: by priority, then those that were interrupted, then from the project of
// the least load, then by age.
class ProjectQueue {
 public:
  // `runs` outlive it.
  ProjectQueue(absl::Span<const QueuedRun> runs, ProjectShares shares);
  bool empty() const { return heads_.empty(); }
  // Index of the run that is served next; it leaves the queue.
  int Next();
  // The run, which left the queue, has or keeps so many workers: they count from now on.
  void Take(int run, int64_t workers);
  const ProjectShares& shares() const { return shares_; }

 private:
  // -priority, not interrupted, load of the project, created, run id, index
  using Head = std::tuple<int64_t, bool, double, int64_t, std::string, int>;
  Head HeadOf(int run) const;
  void Add(const std::string& project);

  const absl::Span<const QueuedRun> runs_;
  ProjectShares shares_;
  std::map<std::string, std::vector<int>> left_;  // by project, the first served last
  std::set<Head> heads_;                          // one of each project that has runs left
};

// Why `ahead` is served before `run`: "project a uses 3 of 4 workers, its share is 2; b of project
// c, which uses 1, is ahead". `projects`: those that the workers are shared between. Empty when
// shares are not the reason.
std::string AheadByShare(const QueuedRun& run, const QueuedRun& ahead,
                         const std::string& ahead_name, const ProjectShares& shares,
                         const std::set<std::string>& projects, int64_t workers);

}  // namespace tritter
