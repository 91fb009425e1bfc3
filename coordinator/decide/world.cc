#include "coordinator/decide/world.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/decide/devices.h"
#include "coordinator/decide/run_names.h"
#include "coordinator/decide/words.h"
#include "model/cuda_limits.h"

namespace tritter {
namespace {

constexpr size_t kNamedWorkers = 6;  // a reason stays one sentence

// How many workers cannot serve now for each cause.
using Tally = std::map<WaitCause, int64_t>;

// What a group has in common.
struct Alike {
  std::string device;   // DeviceOf
  std::string version;  // of the program; "": of any
};

bool IsOfDevice(const std::string& device, const WorkerView& w) {
  return device == "any" || absl::StartsWith(w.device, device);
}

// "cuda:0" of "cuda:0 NVIDIA H100".
std::string KindOf(const WorkerView& w) { return w.device.substr(0, w.device.find(' ')); }

bool IsOfVersion(const Alike& group, const WorkerView& w) {
  return group.version.empty() || w.version.empty() || w.version == group.version;
}

// Why this worker cannot serve the run at all; empty when it can.
std::string Unsuitable(const WorldNeeds& needs, const Alike& group, const WorkerView& w) {
  const std::string& device = group.device;
  // One that is lost comes back as another process.
  const auto it = needs.cannot_read.find(w.name);
  if (it != needs.cannot_read.end() && w.standing != Standing::kLost) return it->second;
  if (!IsOfDevice(device, w)) {
    if (device == "cpu" && !needs.not_on_cuda.empty()) {
      return absl::StrCat(w.name, " is a ", KindOf(w),
                          " worker, GPUs do not train the run: ", needs.not_on_cuda);
    }
    return absl::StrCat(w.name, " is a ", KindOf(w), " worker, the ",
                        needs.device == "auto" ? "group is of " : "run asks for ", device);
  }
  if (w.memory_bytes > 0 && needs.memory_bytes > w.memory_bytes) {
    return absl::StrCat(w.name, " has ", Bytes(w.memory_bytes), ", the run needs ",
                        Bytes(needs.memory_bytes));
  }
  if (!IsOfVersion(group, w))
    return absl::StrCat(w.name, " is of version ", w.version, ", the group of ", group.version);
  return "";
}

bool IsLive(const WorkerView& w) {
  return w.standing != Standing::kLost && w.standing != Standing::kDraining;
}

// The version of which there are enough, the most where no or several ones are, then the newest.
// What ranks send each other, and in which order, may change from one to the next.
Alike GroupOf(const WorldNeeds& needs, absl::Span<const WorkerView> workers) {
  Alike out = {DeviceOf(needs, workers), ""};
  if (needs.max_workers == 1) return out;
  std::map<std::string, int64_t> live;
  for (const WorkerView& w : workers) {
    if (IsLive(w) && !w.version.empty() && Unsuitable(needs, out, w).empty()) ++live[w.version];
  }
  int64_t most = 0;
  for (const auto& [version, count] : live) {
    if (std::min(count, needs.max_workers) < most) continue;
    most = std::min(count, needs.max_workers);
    out.version = version;
  }
  return out;
}

// For which it works, or which it leaves.
std::string RunOf(const WorkerView& w) {
  return w.run_id.empty() ? w.run_name : NamedRun(w.run_name, w.run_id);
}

// Healthy, at work for others, by run: "2 healthy ones (a and b) work for run first (r-1)".
std::string BusyWords(absl::Span<const WorkerView> workers, const std::vector<int>& busy) {
  constexpr size_t kNamed = 4, kRuns = 3;
  std::map<std::string, std::vector<std::string>> by_run;
  for (const int i : busy) {
    const WorkerView& w = workers[i];
    by_run[RunOf(w)].push_back(w.name);
  }
  std::vector<std::string> parts;
  size_t told = 0;
  for (const auto& [run, names] : by_run) {
    if (parts.size() == kRuns) {
      parts.push_back(absl::StrCat(busy.size() - told, " more for other runs"));
      break;
    }
    told += names.size();
    parts.push_back(
        names.size() == 1
            ? absl::StrCat(names[0], " works for run ", run)
            : absl::StrCat(names.size(), " healthy ones ",
                           names.size() > kNamed ? "" : absl::StrCat("(", JoinWords(names), ") "),
                           "work for run ", run));
  }
  return absl::StrJoin(parts, ", ");
}

// "none is free", "1 is free", "2 are free".
std::string Free(int64_t n) {
  return n == 0 ? "none is free" : absl::StrCat(n, n == 1 ? " is free" : " are free");
}

std::string WhyNotIdle(const WorkerView& w) {
  switch (w.standing) {
    case Standing::kIdle:
    case Standing::kBusy:  // BusyWords
      return "";
    case Standing::kLeaving:
      return w.run_name.empty() ? absl::StrCat(w.name, " is connecting")
                                : absl::StrCat(w.name, " is still leaving ", RunOf(w));
    case Standing::kDraining:
      return absl::StrCat(w.name, " is draining");
    case Standing::kLost:
      if (w.left) return absl::StrCat(w.name, " left ", Ago(w.since));
      return absl::StrCat(w.name, " was lost ", Ago(w.since),
                          w.why.empty() ? "" : absl::StrCat(" (", w.why, ")"));
  }
  return "";
}

WaitCause CauseOf(Standing standing) {
  switch (standing) {
    case Standing::kIdle:
      return WaitCause::kNone;
    case Standing::kBusy:
      return WaitCause::kWorkersBusy;
    case Standing::kLeaving:
      return WaitCause::kWorkersLeaving;
    case Standing::kDraining:
      return WaitCause::kWorkersDraining;
    case Standing::kLost:
      return WaitCause::kWorkersLost;
  }
  return WaitCause::kNone;
}

// What has to end so that `missing` more workers are there: the nearest obstacles first.
WaitCause CauseOfLack(int64_t missing, absl::Span<const WorkerView> workers, const Tally& tally) {
  if (workers.empty()) return WaitCause::kNoWorkers;
  for (const WaitCause cause :
       {WaitCause::kWorkersLeaving, WaitCause::kWorkersBusy, WaitCause::kWorkersLost,
        WaitCause::kWorkersDraining, WaitCause::kWorkerTooOld, WaitCause::kTooLittleMemory,
        WaitCause::kWrongDevice, WaitCause::kMixedVersions, WaitCause::kMixedDevices}) {
    const auto it = tally.find(cause);
    if (it != tally.end()) missing -= it->second;
    if (missing <= 0) return cause;
  }
  return WaitCause::kTooFewWorkers;
}

// What helps, with how many workers; empty where the obstacles say it. `live`: those that serve now
// or will when they are free.
std::string Advice(WaitCause cause, int64_t min, int64_t free, int64_t live,
                   absl::Span<const WorkerView> workers, const std::vector<int>& busy) {
  const int64_t now = min - free, missing = min - live;
  switch (cause) {
    case WaitCause::kWorkersBusy:
      if (static_cast<int64_t>(busy.size()) > now)
        return absl::StrCat("it can start when ", now, now == 1 ? " of them is" : " of them are",
                            " free");
      return busy.size() == 1
                 ? absl::StrCat("it can start when ", workers[busy[0]].name, " is free")
                 : "it can start when they are free";
    case WaitCause::kWorkersLost:
      return missing == 1 ? "one must come back, or another be started"
                          : absl::StrCat(missing, " must come back, or as many others be started");
    case WaitCause::kWorkersDraining:
      return absl::StrCat("start ", missing, " more");
    case WaitCause::kTooFewWorkers:
      return absl::StrCat(busy.empty() ? ""
                                       : absl::StrCat("with those that work ", missing,
                                                      missing == 1 ? " is" : " are", " missing: "),
                          "start ", missing, " more",
                          live > 0 ? absl::StrCat(", or lower workers.min to ", live) : "");
    case WaitCause::kMixedVersions:
      return "a group is of one version: update the older ones";
    case WaitCause::kMixedDevices:
      return "with `auto` a group is of one kind: say `workers.device: any` to let CPUs and GPUs "
             "train together";
    default:
      return "";
  }
}

}  // namespace

// A group is of one kind, but with `any`: gradients travel over Gloo between CPUs, over NCCL
// between GPUs. With `auto` it is GPUs where there are enough.
std::string DeviceOf(const WorldNeeds& needs, absl::Span<const WorkerView> workers) {
  if (needs.device != "auto") return needs.device;
  if (!needs.not_on_cuda.empty()) return "cpu";
  const int64_t live = std::count_if(workers.begin(), workers.end(), [&](const WorkerView& w) {
    return IsGpu(w.device) && !needs.cannot_read.contains(w.name) &&
           w.standing != Standing::kLost && w.standing != Standing::kDraining;
  });
  return live >= needs.min_workers ? "cuda" : "cpu";
}

void SortByName(absl::Span<const WorkerView> workers, std::vector<int>* members) {
  std::sort(members->begin(), members->end(),
            [&](int a, int b) { return workers[a].name < workers[b].name; });
}

std::string FormedOf(absl::Span<const WorkerView> workers, const std::vector<int>& members) {
  std::vector<std::string> names, devices;
  for (const int m : members) devices.push_back(workers[m].device);
  const bool mixed = AreCpusAndGpus(devices);
  for (const int m : members) {
    const WorkerView& w = workers[m];
    names.push_back(mixed ? absl::StrCat(w.name, " (", KindOf(w), ")") : w.name);
  }
  return absl::StrCat("formed of ", JoinWords(names));
}

WorldNeeds NeedsOf(const RunSpec& spec, int64_t memory_bytes) {
  return {spec.min_workers, spec.max_workers, spec.device, memory_bytes,
          NotOnCuda(spec).value_or("")};
}

std::vector<int> Suitable(const WorldNeeds& needs, absl::Span<const WorkerView> workers) {
  const Alike group = GroupOf(needs, workers);
  std::vector<int> out;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (IsLive(workers[i]) && Unsuitable(needs, group, workers[i]).empty())
      out.push_back(static_cast<int>(i));
  }
  return out;
}

WorldDecision FormWorld(const WorldNeeds& needs, absl::Span<const WorkerView> workers,
                        const WorldOptions& options) {
  WorldDecision out;
  const Alike group = GroupOf(needs, workers);
  // Of another kind than the group, though the run itself would take either.
  const WaitCause other_kind = needs.device == "auto" && needs.not_on_cuda.empty()
                                   ? WaitCause::kMixedDevices
                                   : WaitCause::kWrongDevice;
  std::vector<std::string> obstacles, leaving;
  std::vector<int> busy;
  Tally tally;
  int64_t live = 0;
  absl::Duration newest = absl::InfiniteDuration();
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerView& w = workers[i];
    std::string why = Unsuitable(needs, group, w);
    const bool suitable = why.empty();
    if (!why.empty()) {
      if (w.standing == Standing::kLost) {
        why = WhyNotIdle(w);
      } else {
        ++tally[needs.cannot_read.contains(w.name) ? WaitCause::kWorkerTooOld
                : !IsOfDevice(group.device, w)     ? other_kind
                : !IsOfVersion(group, w)           ? WaitCause::kMixedVersions
                                                   : WaitCause::kTooLittleMemory];
      }
    } else {
      live += IsLive(w);
      why = WhyNotIdle(w);
      if (!w.left) ++tally[CauseOf(w.standing)];  // who left is not waited for
      if (w.standing == Standing::kBusy) {
        busy.push_back(static_cast<int>(i));
        continue;
      }
    }
    if (!why.empty()) {
      const bool soon = w.standing == Standing::kLeaving && w.since < options.leave;
      if (soon && suitable) leaving.push_back(w.name);
      obstacles.push_back(std::move(why));
      continue;
    }
    out.members.push_back(static_cast<int>(i));
    newest = std::min(newest, w.since);
  }
  out.possible = live >= needs.min_workers;
  const int64_t free = static_cast<int64_t>(out.members.size());
  if (obstacles.size() > kNamedWorkers) {
    const size_t more = obstacles.size() - kNamedWorkers;
    obstacles.resize(kNamedWorkers);
    obstacles.push_back(absl::StrCat(more, " more"));
  }
  const std::string tail =
      absl::StrCat(busy.empty() ? "" : absl::StrCat(", ", BusyWords(workers, busy)),
                   obstacles.empty() ? "" : absl::StrCat("; ", absl::StrJoin(obstacles, ", ")));
  if (free < needs.min_workers) {
    out.members.clear();
    out.cause = CauseOfLack(needs.min_workers - free, workers, tally);
    if (workers.empty()) {
      out.reason =
          absl::StrCat("needs ", Count(needs.min_workers, "worker"), ", none is registered");
      return out;
    }
    const std::string advice = Advice(out.cause, needs.min_workers, free, live, workers, busy);
    out.reason = absl::StrCat("needs ", Count(needs.min_workers, "worker"), ": ", Free(free), tail,
                              advice.empty() ? "" : "; ", advice);
    return out;
  }
  const auto cost = [&](int i) {
    const bool own = absl::c_linear_search(needs.holders, workers[i].name);
    return own ? 0 : workers[i].holds ? 2 : 1;
  };
  const auto place = [&](int i) {
    const bool last = needs.device == "any" && IsGpu(workers[i].device) == needs.gpus_last;
    return std::make_tuple(last, cost(i), workers[i].name);
  };
  std::sort(out.members.begin(), out.members.end(),
            [&](int a, int b) { return place(a) < place(b); });
  out.preferred = out.members;
  if (free > needs.max_workers) out.members.resize(needs.max_workers);
  SortByName(workers, &out.members);
  if (free < needs.max_workers && newest < options.settle && !needs.settled) {
    out.members.clear();
    out.cause = WaitCause::kSettling;
    out.reason = absl::StrCat("of up to ", Count(needs.max_workers, "worker"), " ", Free(free),
                              tail, "; waits ", Seconds(options.settle - newest), " for more");
    return out;
  }
  if (free < needs.max_workers && !leaving.empty()) {
    out.members.clear();
    out.cause = WaitCause::kWorkersLeaving;
    out.reason = absl::StrCat("of up to ", Count(needs.max_workers, "worker"), " ", Free(free),
                              tail, "; waits for more");
    return out;
  }
  out.reason = FormedOf(workers, out.members);
  return out;
}

}  // namespace tritter
