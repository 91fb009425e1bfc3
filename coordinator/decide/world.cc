#include "coordinator/decide/world.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/decide/words.h"
#include "model/cuda_limits.h"

namespace tritter {
namespace {

constexpr size_t kNamedWorkers = 6;  // a reason stays one sentence

// Why this worker cannot serve the run at all; empty when it can.
std::string Unsuitable(const WorldNeeds& needs, const std::string& device, const WorkerView& w) {
  if (!absl::StartsWith(w.device, device)) {
    if (device == "cpu" && !needs.not_on_cuda.empty()) {
      return absl::StrCat(w.name, " is a ", w.device.substr(0, w.device.find(' ')),
                          " worker, GPUs do not train the run: ", needs.not_on_cuda);
    }
    return absl::StrCat(w.name, " is a ", w.device.substr(0, w.device.find(' ')), " worker, the ",
                        needs.device == "auto" ? "group is of " : "run asks for ", device);
  }
  if (w.memory_bytes > 0 && needs.memory_bytes > w.memory_bytes) {
    return absl::StrCat(w.name, " has ", Bytes(w.memory_bytes), ", the run needs ",
                        Bytes(needs.memory_bytes));
  }
  return "";
}

// A group is of one kind: gradients travel over Gloo between CPUs, over NCCL between GPUs. With
// `auto` it is GPUs where there are enough.
std::string DeviceOf(const WorldNeeds& needs, absl::Span<const WorkerView> workers) {
  if (needs.device != "auto") return needs.device;
  if (!needs.not_on_cuda.empty()) return "cpu";
  const int64_t live = std::count_if(workers.begin(), workers.end(), [](const WorkerView& w) {
    return absl::StartsWith(w.device, "cuda") && w.standing != Standing::kLost &&
           w.standing != Standing::kDraining;
  });
  return live >= needs.min_workers ? "cuda" : "cpu";
}

std::string WhyNotIdle(const WorkerView& w) {
  switch (w.standing) {
    case Standing::kIdle:
      return "";
    case Standing::kBusy:
      return absl::StrCat(w.name, " works for ", w.run_name);
    case Standing::kLeaving:
      return absl::StrCat(w.name, " is still leaving ", w.run_name);
    case Standing::kDraining:
      return absl::StrCat(w.name, " is draining");
    case Standing::kLost:
      return absl::StrCat(w.name, " lost ", Ago(w.since),
                          w.why.empty() ? "" : absl::StrCat(" (", w.why, ")"));
  }
  return "";
}

}  // namespace

WorldNeeds NeedsOf(const RunSpec& spec, int64_t memory_bytes) {
  return {spec.min_workers, spec.max_workers, spec.device, memory_bytes,
          NotOnCuda(spec).value_or("")};
}

WorldDecision FormWorld(const WorldNeeds& needs, absl::Span<const WorkerView> workers,
                        const WorldOptions& options) {
  WorldDecision out;
  const std::string device = DeviceOf(needs, workers);
  std::vector<std::string> obstacles;
  int64_t live = 0;
  absl::Duration newest = absl::InfiniteDuration();
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerView& w = workers[i];
    std::string why = w.standing == Standing::kLost ? "" : Unsuitable(needs, device, w);
    if (why.empty()) {
      live += w.standing != Standing::kLost && w.standing != Standing::kDraining;
      why = WhyNotIdle(w);
    }
    if (!why.empty()) {
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
    out.reason = workers.empty() ? absl::StrCat("needs ", Count(needs.min_workers, "worker"),
                                                ", none is registered")
                                 : absl::StrCat("needs ", Count(needs.min_workers, "worker"), ", ",
                                                healthy, " healthy", tail);
    return out;
  }
  std::sort(out.members.begin(), out.members.end(),
            [&](int a, int b) { return workers[a].name < workers[b].name; });
  if (healthy > needs.max_workers) out.members.resize(needs.max_workers);
  if (healthy < needs.max_workers && newest < options.settle) {
    out.members.clear();
    out.reason =
        absl::StrCat(healthy, " of up to ", Count(needs.max_workers, "worker"), " healthy; waits ",
                     Seconds(options.settle - newest), " for more", tail);
    return out;
  }
  std::vector<std::string> names;
  for (const int m : out.members) names.push_back(workers[m].name);
  out.reason = absl::StrCat("formed of ", JoinWords(names));
  return out;
}

}  // namespace tritter
