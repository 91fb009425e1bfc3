#include "coordinator/decide/schedule.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "coordinator/decide/run_names.h"

namespace tritter {
namespace {

// Has its minimum, and may get more.
struct Elastic {
  size_t placement;
  int run;
  int64_t priority, max_workers;
  std::vector<int> preferred;
  int64_t extra = 0;
};

// Between whom the workers are shared: who has some, and who could begin.
std::set<std::string> Projects(absl::Span<const WaitingRun> runs, const ProjectShares& shares) {
  std::set<std::string> out;
  for (const auto& [project, used] : shares.used) {
    if (used > 0) out.insert(project);
  }
  for (const WaitingRun& run : runs) {
    if (!run.blocked.waits()) out.insert(run.project);
  }
  return out;
}

// The highest priority of those that wait for GPUs alone, of which there are enough. A run of no
// higher one that may have either leaves them to it: a group may have given up its own for that.
std::optional<int64_t> MostUrgentForGpus(absl::Span<const WaitingRun> runs,
                                         absl::Span<const WorkerView> workers,
                                         const WorldOptions& options) {
  std::optional<int64_t> out;
  for (const WaitingRun& run : runs) {
    if (run.blocked.waits() || (out.has_value() && run.priority <= *out)) continue;
    if (DeviceOf(run.needs, workers) != "cuda") continue;
    if (FormWorld(run.needs, workers, options).possible) out = run.priority;
  }
  return out;
}

}  // namespace

std::vector<Placement> Schedule(absl::Span<const WaitingRun> runs,
                                absl::Span<const WorkerView> workers, const WorldOptions& options,
                                const ProjectShares& shares) {
  std::vector<WorkerView> left(workers.begin(), workers.end());
  std::vector<QueuedRun> queued;
  for (const WaitingRun& run : runs)
    queued.push_back({run.run_id, run.project, run.priority, run.created_ms, run.interrupted});
  ProjectQueue queue(queued, shares);
  const std::set<std::string> projects = Projects(runs, shares);
  const int64_t live =
      absl::c_count_if(workers, [](const WorkerView& w) { return w.standing != Standing::kLost; });
  const std::optional<int64_t> for_gpus = MostUrgentForGpus(runs, workers, options);
  const auto take = [&](int m, int run) {
    left[m].standing = Standing::kBusy;
    left[m].run_name = runs[run].name;
    left[m].run_id = runs[run].run_id;
  };
  std::vector<std::vector<int>> kept(runs.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i].keeps_holders) continue;
    for (size_t m = 0; m < left.size(); ++m) {
      const bool holds = left[m].standing == Standing::kIdle &&
                         absl::c_linear_search(runs[i].needs.holders, left[m].name);
      if (holds && static_cast<int64_t>(kept[i].size()) < runs[i].needs.min_workers) {
        kept[i].push_back(static_cast<int>(m));
        take(static_cast<int>(m), static_cast<int>(i));
      }
    }
  }
  std::vector<Placement> out;
  int ahead = -1;  // waits for workers that exist
  std::vector<Elastic> elastic;
  while (!queue.empty()) {
    const int index = queue.Next();
    const WaitingRun& run = runs[index];
    if (run.blocked.waits()) {
      out.push_back({run.run_id, {}, run.blocked.cause, run.blocked.sentence});
      continue;
    }
    for (const int m : kept[index]) left[m] = workers[m];
    WorldNeeds needs = run.needs;
    needs.gpus_last = for_gpus.has_value() && *for_gpus >= run.priority;
    // It passes who is ahead for the sake of its state alone: with more than that it would take
    // what others, and it itself, have given up for that one.
    const bool passes = ahead >= 0 && !kept[index].empty();
    if (passes) needs.max_workers = needs.min_workers;
    WorldDecision world = FormWorld(needs, left, options);
    if (passes) {
      std::erase_if(world.preferred, [&](int m) { return !absl::c_linear_search(kept[index], m); });
    }
    const bool enough = static_cast<int64_t>(world.preferred.size()) >= needs.min_workers;
    const bool behind = ahead >= 0 && !world.members.empty() && !(passes && enough);
    if (world.members.empty() || behind) {
      for (const int m : kept[index]) take(m, index);
    }
    const std::string by_share = ahead < 0
                                     ? ""
                                     : AheadByShare(queued[index], queued[ahead],
                                                    NamedRun(runs[ahead].name, runs[ahead].run_id),
                                                    queue.shares(), projects, live);
    if (behind) {
      const WaitingRun& first = runs[ahead];
      out.push_back(
          {run.run_id,
           {},
           !by_share.empty()               ? WaitCause::kBehindShare
           : first.priority > run.priority ? WaitCause::kBehindPriority
                                           : WaitCause::kBehindOlder,
           !by_share.empty()
               ? by_share
               : absl::StrCat("waits behind ", NamedRun(first.name, first.run_id, first.priority),
                              first.interrupted && first.priority == run.priority
                                  ? ", which goes on first: its epoch was lost"
                                  : ", which is ahead in the queue")});
      continue;
    }
    if (!world.members.empty()) {
      const size_t least = std::min<size_t>(run.needs.min_workers, world.preferred.size());
      world.members.assign(world.preferred.begin(), world.preferred.begin() + least);
      for (const int m : world.members) take(m, index);
      queue.Take(index, static_cast<int64_t>(least));
      elastic.push_back(
          {out.size(), index, run.priority, needs.max_workers, std::move(world.preferred)});
    } else if (world.possible && ahead < 0) {
      ahead = index;
    } else if (!by_share.empty()) {
      absl::StrAppend(&world.reason, "; ", by_share);
    } else if (world.possible) {
      absl::StrAppend(&world.reason, "; ", NamedRun(runs[ahead].name, runs[ahead].run_id),
                      " is ahead in the queue");
    }
    out.push_back({run.run_id, std::move(world.members), world.cause, std::move(world.reason)});
  }
  // What is left: to the highest priority first, then to the project of the least load, and one
  // each in turn among its runs.
  ProjectShares used = queue.shares();
  std::vector<Elastic*> growing;
  for (Elastic& run : elastic) growing.push_back(&run);
  while (!growing.empty()) {
    const auto next =
        std::min_element(growing.begin(), growing.end(), [&](const Elastic* a, const Elastic* b) {
          const auto key = [&](const Elastic* e) {
            return std::make_tuple(-e->priority, used.LoadOf(runs[e->run].project), e->extra,
                                   e->placement);
          };
          return key(a) < key(b);
        });
    Elastic& run = **next;
    std::vector<int>& members = out[run.placement].members;
    const auto free =
        absl::c_find_if(run.preferred, [&](int m) { return left[m].standing == Standing::kIdle; });
    if (static_cast<int64_t>(members.size()) >= run.max_workers || free == run.preferred.end()) {
      growing.erase(next);
      continue;
    }
    take(*free, run.run);
    members.push_back(*free);
    ++run.extra;
    ++used.used[runs[run.run].project];
  }
  for (const Elastic& run : elastic) {
    SortByName(workers, &out[run.placement].members);
    out[run.placement].reason = FormedOf(workers, out[run.placement].members);
  }
  return out;
}

}  // namespace tritter
