#include "coordinator/decide/schedule.h"

#include <algorithm>
#include <numeric>
#include <tuple>

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
  for (const int index : QueueOrder(runs)) {
    const WaitingRun& run = runs[index];
    if (!run.blocked.empty()) {
      out.push_back({run.run_id, {}, run.blocked});
      continue;
    }
    WorldDecision world = FormWorld(run.needs, left, options);
    if (ahead != nullptr && !world.members.empty()) {
      out.push_back({run.run_id,
                     {},
                     absl::StrCat("waits behind ", ahead->name, " (priority ", ahead->priority,
                                  "), which is ahead in the queue")});
      continue;
    }
    for (const int m : world.members) {
      left[m].standing = Standing::kBusy;
      left[m].run_name = run.name;
    }
    if (world.members.empty() && world.possible && ahead == nullptr) ahead = &run;
    out.push_back({run.run_id, std::move(world.members), std::move(world.reason)});
  }
  return out;
}

}  // namespace tritter
