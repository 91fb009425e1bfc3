#include "coordinator/decide/reshape.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "coordinator/decide/devices.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

constexpr size_t kNamedMembers = 6;  // a reason stays one sentence

std::string Named(absl::Span<const int> members, absl::Span<const WorkerView> workers) {
  std::vector<std::string> names;
  for (const int m : members) names.push_back(workers[m].name);
  std::sort(names.begin(), names.end());
  if (names.size() > kNamedMembers) {
    const size_t more = names.size() - kNamedMembers;
    names.resize(kNamedMembers);
    names.push_back(absl::StrCat(more, " more"));
  }
  return JoinWords(names);
}

// Lacks workers, and nothing else stands in its way.
bool Lacks(const Placement& placement) {
  switch (placement.cause) {
    case WaitCause::kTooFewWorkers:
    case WaitCause::kWorkersBusy:
    case WaitCause::kWorkersLost:
    case WaitCause::kWorkersDraining:
      return true;
    default:
      return false;
  }
}

struct Given {
  const TrainingRun* run = nullptr;
  std::vector<int> useful;  // members that suit the waiting run
  int64_t surplus = 0;      // of them, what it can do without
  bool all = false;
  int64_t count() const {
    return all ? static_cast<int64_t>(useful.size())
               : std::min<int64_t>(surplus, static_cast<int64_t>(useful.size()));
  }
};

// What the waiting run could get of each, in the order in which they give.
std::vector<Given> GiversTo(const WaitingRun& run, absl::Span<const TrainingRun> training,
                            const std::vector<int>& suitable, const ProjectShares& shares) {
  std::vector<Given> out;
  for (const TrainingRun& other : training) {
    if (other.ending || other.priority > run.priority) continue;
    Given given;
    given.run = &other;
    for (const int m : other.members) {
      if (absl::c_linear_search(suitable, m)) given.useful.push_back(m);
    }
    given.surplus = static_cast<int64_t>(other.members.size()) - other.needs.min_workers;
    if (!given.useful.empty()) out.push_back(std::move(given));
  }
  std::sort(out.begin(), out.end(), [&](const Given& a, const Given& b) {
    const auto key = [&](const TrainingRun& r) {
      return std::make_tuple(r.priority, -shares.LoadOf(r.project), -r.created_ms, r.run_id);
    };
    return key(*a.run) < key(*b.run);
  });
  return out;
}

void HelpOne(const WaitingRun& run, absl::Span<const TrainingRun> training,
             absl::Span<const WorkerView> workers, const ProjectShares& shares,
             ReshapeDecision* out) {
  const std::vector<int> suitable = Suitable(run.needs, workers);
  std::set<int> coming;  // free now, or soon without our doing
  for (const int m : suitable) {
    if (workers[m].standing != Standing::kBusy) coming.insert(m);
  }
  for (const TrainingRun& other : training) {
    for (const int m : other.members) {
      if (other.ending && absl::c_linear_search(suitable, m)) coming.insert(m);
    }
  }
  int64_t missing = run.needs.min_workers - static_cast<int64_t>(coming.size());
  if (missing <= 0) return;
  std::vector<Given> givers = GiversTo(run, training, suitable, shares);
  int64_t got = 0;
  const auto take = [&](bool all) {
    for (Given& given : givers) {
      if (got >= missing || given.all) continue;
      if (all && (given.run->priority >= run.priority || !given.run->preemptible)) continue;
      got -= all ? std::max<int64_t>(0, given.count()) : 0;
      given.all = all;
      got += std::max<int64_t>(0, given.count());
    }
  };
  take(/*all=*/false);
  take(/*all=*/true);
  if (got < missing) {
    std::vector<std::string> kept;
    for (const Given& given : givers) {
      if (given.run->priority >= run.priority || given.run->preemptible) continue;
      const int64_t besides =
          static_cast<int64_t>(given.useful.size()) - std::max<int64_t>(0, given.count());
      if (besides <= 0 || got >= missing) continue;
      got += besides;
      kept.push_back(NamedRun(given.run->name, given.run->run_id, given.run->priority));
    }
    if (got >= missing) {
      out->kept[run.run_id] =
          absl::StrCat(JoinWords(kept), kept.size() == 1 ? " is" : " are", " not preemptible");
    }
    return;
  }
  std::vector<std::string> parts;
  for (const Given& given : givers) {
    if (missing <= 0) break;
    if (given.count() <= 0) continue;
    // Who gives all is asked only as far as that is needed.
    const std::string to = NamedRun(run.name, run.run_id, run.priority);
    Reshape& reshape = out->reshapes[given.run->run_id];
    const int64_t world = static_cast<int64_t>(given.run->members.size());
    reshape.gives_all = given.all;
    reshape.reason = given.all
                         ? absl::StrCat("gives its ", Count(world, "worker"), " to ", to)
                         : absl::StrCat("shrinks from ", Count(world, "worker"), ", at least ",
                                        given.run->needs.min_workers, ", to make room for ", to);
    parts.push_back(absl::StrCat(NamedRun(given.run->name, given.run->run_id, given.run->priority),
                                 given.all ? " gives up " : " shrinks, it has ",
                                 Named(given.run->members, workers),
                                 given.all ? " after a checkpoint" : ""));
    missing -= given.count();
  }
  out->helped = run.run_id;
  out->wait = {WaitCause::kPreempting,
               absl::StrCat("needs ", Count(run.needs.min_workers, "worker"),
                            ", gets them soon: ", JoinWords(parts))};
}

// Whether the worker may train beside the run's members.
bool MayJoin(const TrainingRun& run, const WorkerView& w, absl::Span<const WorkerView> workers) {
  return run.needs.device == "any" || IsGpu(w.device) == IsGpu(workers[run.members[0]].device);
}

// It will want workers within seconds.
bool IsBrief(WaitCause cause) {
  return cause == WaitCause::kRetryDelay || cause == WaitCause::kCommitting ||
         cause == WaitCause::kRetaining;
}

// A group that may take workers in.
struct Growing {
  const TrainingRun* run = nullptr;
  std::vector<int> free = {};  // that it could take, and nobody else keeps
  std::vector<int> joining = {};
};

// Workers that nobody waits for: one each in turn to the highest priority, of that to the project
// that uses the least of its share, as with those that begin (Schedule).
void Grow(absl::Span<const TrainingRun> training, absl::Span<const WorkerView> workers,
          const ReshapeOptions& options, ProjectShares shares, std::set<int> taken,
          ReshapeDecision* out) {
  std::vector<Growing> growing;
  for (const TrainingRun& run : training) {
    const int64_t world = static_cast<int64_t>(run.members.size());
    if (run.ending || out->reshapes.contains(run.run_id) || world >= run.needs.max_workers)
      continue;
    if (run.age < options.settle || run.left < options.worth || run.members.empty()) continue;
    Growing& g = growing.emplace_back();
    g.run = &run;
    for (const int m : Suitable(run.needs, workers)) {
      const WorkerView& w = workers[m];
      const bool free = w.standing == Standing::kIdle && w.since >= options.settle;
      if (free && !taken.contains(m) && MayJoin(run, w, workers)) g.free.push_back(m);
    }
  }
  while (true) {
    const auto key = [&](const Growing& g) {
      return std::make_tuple(-g.run->priority, shares.LoadOf(g.run->project), g.joining.size(),
                             g.run->created_ms, g.run->run_id);
    };
    Growing* next = nullptr;
    for (Growing& g : growing) {
      std::erase_if(g.free, [&](int m) { return taken.contains(m); });
      const size_t world = g.run->members.size() + g.joining.size();
      if (g.free.empty() || static_cast<int64_t>(world) >= g.run->needs.max_workers) continue;
      if (next == nullptr || key(g) < key(*next)) next = &g;
    }
    if (next == nullptr) break;
    next->joining.push_back(next->free.front());
    taken.insert(next->free.front());
    ++shares.used[next->run->project];
  }
  for (const Growing& g : growing) {
    if (g.joining.empty()) continue;
    out->reshapes[g.run->run_id] = {absl::StrCat("takes in ", Named(g.joining, workers)), false};
  }
}

}  // namespace

ReshapeDecision DecideReshapes(absl::Span<const WaitingRun> waiting,
                               absl::Span<const Placement> placements,
                               absl::Span<const TrainingRun> training,
                               absl::Span<const WorkerView> workers, const ReshapeOptions& options,
                               const ProjectShares& shares) {
  ReshapeDecision out;
  std::set<int> taken;
  for (const Placement& p : placements) {
    taken.insert(p.members.begin(), p.members.end());
    const auto run =
        absl::c_find_if(waiting, [&](const WaitingRun& w) { return w.run_id == p.run_id; });
    if (run == waiting.end() || !p.members.empty()) continue;
    if (run->blocked.waits() && !IsBrief(p.cause)) continue;
    if (!run->blocked.waits() && out.helped.empty() && Lacks(p))
      HelpOne(*run, training, workers, shares, &out);
    // Whoever waits keeps what would serve it.
    for (const int m : Suitable(run->needs, workers)) taken.insert(m);
  }
  Grow(training, workers, options, shares, std::move(taken), &out);
  return out;
}

}  // namespace tritter
