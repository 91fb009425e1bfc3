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

std::string WhyNotIdle(const WorkerView& w) {
  switch (w.standing) {
    case Standing::kIdle:
      return "";
    case Standing::kBusy:
      return absl::StrCat(w.name, " works for ", w.run_name);
    case Standing::kLeaving:
      return w.run_name.empty() ? absl::StrCat(w.name, " is connecting")
                                : absl::StrCat(w.name, " is still leaving ", w.run_name);
    case Standing::kDraining:
      return absl::StrCat(w.name, " is draining");
    case Standing::kLost:
      if (w.left) return absl::StrCat(w.name, " left ", Ago(w.since));
      return absl::StrCat(w.name, " lost ", Ago(w.since),
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
  const int64_t healthy = static_cast<int64_t>(out.members.size());
  if (obstacles.size() > kNamedWorkers) {
    const size_t more = obstacles.size() - kNamedWorkers;
    obstacles.resize(kNamedWorkers);
    obstacles.push_back(absl::StrCat(more, " more"));
  }
  const std::string tail =
      obstacles.empty() ? "" : absl::StrCat("; ", absl::StrJoin(obstacles, ", "));
  if (healthy < needs.min_workers) {
    out.members.clear();
    out.cause = CauseOfLack(needs.min_workers - healthy, workers, tally);
    out.reason = workers.empty() ? absl::StrCat("needs ", Count(needs.min_workers, "worker"),
                                                ", none is registered")
                                 : absl::StrCat("needs ", Count(needs.min_workers, "worker"), ", ",
                                                healthy, " healthy", tail);
    if (out.cause == WaitCause::kTooFewWorkers && !workers.empty()) {
      absl::StrAppend(&out.reason, "; ", workers.size(), workers.size() == 1 ? " is" : " are",
                      " known in all: start more, or lower workers.min");
    }
    if (out.cause == WaitCause::kMixedVersions)
      absl::StrAppend(&out.reason, "; a group is of one version: update the older ones");
    if (out.cause == WaitCause::kMixedDevices) {
      absl::StrAppend(&out.reason,
                      "; with `auto` a group is of one kind: say `workers.device: any` to let CPUs "
                      "and GPUs train together");
    }
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
  if (healthy > needs.max_workers) out.members.resize(needs.max_workers);
  SortByName(workers, &out.members);
  if (healthy < needs.max_workers && newest < options.settle && !needs.settled) {
    out.members.clear();
    out.cause = WaitCause::kSettling;
    out.reason =
        absl::StrCat(healthy, " of up to ", Count(needs.max_workers, "worker"), " healthy; waits ",
                     Seconds(options.settle - newest), " for more", tail);
    return out;
  }
  if (healthy < needs.max_workers && !leaving.empty()) {
    out.members.clear();
    out.cause = WaitCause::kWorkersLeaving;
    out.reason = absl::StrCat(healthy, " of up to ", Count(needs.max_workers, "worker"),
                              " healthy; waits for more", tail);
    return out;
  }
  out.reason = FormedOf(workers, out.members);
  return out;
}

}  // namespace tritter
