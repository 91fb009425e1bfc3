#include "coordinator/decide/schedule.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

namespace tritter {

std::vector<int> QueueOrder(absl::Span<const WaitingRun> runs) {
  std::vector<int> order(runs.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return std::make_tuple(-runs[a].priority, runs[a].created_ms, runs[a].run_id) <
           std::make_tuple(-runs[b].priority, runs[b].created_ms, runs[b].run_id);
  });
  return order;
}

std::vector<Placement> Schedule(absl::Span<const WaitingRun> runs,
                                absl::Span<const WorkerView> workers, const WorldOptions& options) {
  std::vector<WorkerView> left(workers.begin(), workers.end());
  std::vector<Placement> out;
  const WaitingRun* ahead = nullptr;  // waits for workers that exist
  struct Elastic {
    size_t placement;
    int64_t priority, max_workers;
    std::vector<int> preferred;
    std::string name;
  };
  std::vector<Elastic> elastic;  // have their minimum
  const auto take = [&](int m, const std::string& name) {
    left[m].standing = Standing::kBusy;
    left[m].run_name = name;
  };
  for (const int index : QueueOrder(runs)) {
    const WaitingRun& run = runs[index];
    if (run.blocked.waits()) {
      out.push_back({run.run_id, {}, run.blocked.cause, run.blocked.sentence});
      continue;
    }
    WorldDecision world = FormWorld(run.needs, left, options);
    if (ahead != nullptr && !world.members.empty()) {
      out.push_back(
          {run.run_id,
           {},
           ahead->priority > run.priority ? WaitCause::kBehindPriority : WaitCause::kBehindOlder,
           absl::StrCat("waits behind ", ahead->name, " (priority ", ahead->priority,
                        "), which is ahead in the queue")});
      continue;
    }
    if (!world.members.empty()) {
      const size_t least = std::min<size_t>(run.needs.min_workers, world.preferred.size());
      world.members.assign(world.preferred.begin(), world.preferred.begin() + least);
      for (const int m : world.members) take(m, run.name);
      elastic.push_back(
          {out.size(), run.priority, run.needs.max_workers, std::move(world.preferred), run.name});
    }
    if (world.members.empty() && world.possible && ahead == nullptr) ahead = &run;
    out.push_back({run.run_id, std::move(world.members), world.cause, std::move(world.reason)});
  }
  // What is left: to the highest priority first, and one each in turn among equals.
  for (size_t first = 0, end = 0; first < elastic.size(); first = end) {
    while (end < elastic.size() && elastic[end].priority == elastic[first].priority) ++end;
    for (bool more = true; more;) {
      more = false;
      for (size_t i = first; i < end; ++i) {
        std::vector<int>& members = out[elastic[i].placement].members;
        if (static_cast<int64_t>(members.size()) >= elastic[i].max_workers) continue;
        const auto free = absl::c_find_if(
            elastic[i].preferred, [&](int m) { return left[m].standing == Standing::kIdle; });
        if (free == elastic[i].preferred.end()) continue;
        take(*free, elastic[i].name);
        members.push_back(*free);
        more = true;
      }
    }
  }
  for (const Elastic& run : elastic) {
    SortByName(workers, &out[run.placement].members);
    out[run.placement].reason = FormedOf(workers, out[run.placement].members);
  }
  return out;
}

}  // namespace tritter
