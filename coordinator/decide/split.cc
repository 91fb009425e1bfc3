#include "coordinator/decide/split.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/decide/devices.h"
#include "coordinator/decide/words.h"

namespace tritter {
namespace {

constexpr size_t kNamedWorkers = 6;  // a reason stays one sentence

constexpr double kGpuOverCpu = 16;  // until either is measured

}  // namespace

bool IsMeasured(const std::string& split, absl::Span<const std::string> devices) {
  if (devices.size() < 2 || split == "equal") return false;
  if (split == "measured") return true;
  return std::any_of(devices.begin(), devices.end(), [&](const std::string& device) {
    return DeviceModel(device) != DeviceModel(devices[0]);
  });
}

bool AllMeasured(absl::Span<const RankSpeed> ranks) {
  return std::all_of(ranks.begin(), ranks.end(),
                     [](const RankSpeed& r) { return r.seconds_per_sequence > 0; });
}

void GuessSpeeds(absl::Span<const std::string> devices, std::vector<RankSpeed>* ranks) {
  double sum[2] = {0, 0}, count[2] = {0, 0};  // measured CPUs, GPUs
  for (size_t r = 0; r < ranks->size(); ++r) {
    if (!((*ranks)[r].seconds_per_sequence > 0)) continue;
    sum[IsGpu(devices[r])] += (*ranks)[r].seconds_per_sequence;
    ++count[IsGpu(devices[r])];
  }
  const double gpu = count[1] > 0   ? sum[1] / count[1]
                     : count[0] > 0 ? sum[0] / count[0] / kGpuOverCpu
                                    : 1;
  const double cpu = count[0] > 0 ? sum[0] / count[0] : gpu * kGpuOverCpu;
  for (size_t r = 0; r < ranks->size(); ++r) {
    double& seconds = (*ranks)[r].seconds_per_sequence;
    if (!(seconds > 0)) seconds = IsGpu(devices[r]) ? gpu : cpu;
  }
}

double SmoothedSeconds(double before, double now) {
  if (!(before > 0)) return now;
  return now > 0 ? std::sqrt(before * now) : before;
}

std::vector<int64_t> SplitBatch(absl::Span<const RankSpeed> ranks, int64_t global_batch) {
  // One sequence after the other to the rank that would be done with it first: no other split has
  // a lower maximum, since every rank below that maximum has taken all that fits below it.
  std::vector<int64_t> out(ranks.size(), 1);
  std::priority_queue<std::pair<double, size_t>, std::vector<std::pair<double, size_t>>,
                      std::greater<>>
      next;
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (!(ranks[r].seconds_per_sequence > 0)) return {};
    if (ranks[r].most > 1) next.emplace(2 * ranks[r].seconds_per_sequence, r);
  }
  int64_t left = global_batch - static_cast<int64_t>(ranks.size());
  if (ranks.empty() || left < 0) return {};
  for (; left > 0; --left) {
    if (next.empty()) return {};
    const size_t r = next.top().second;
    next.pop();
    if (++out[r] < ranks[r].most)
      next.emplace(static_cast<double>(out[r] + 1) * ranks[r].seconds_per_sequence, r);
  }
  return out;
}

double SlowestSeconds(absl::Span<const RankSpeed> ranks, absl::Span<const int64_t> sequences) {
  double slowest = 0;
  for (size_t r = 0; r < ranks.size(); ++r) {
    slowest = std::max(slowest, ranks[r].seconds_per_sequence * static_cast<double>(sequences[r]));
  }
  return slowest;
}

std::vector<int64_t> DecideSplit(absl::Span<const RankSpeed> ranks, int64_t global_batch,
                                 const std::vector<int64_t>& current, const SplitOptions& options) {
  std::vector<int64_t> best = SplitBatch(ranks, global_batch);
  if (best.empty()) return current;
  const bool better =
      SlowestSeconds(ranks, best) <= (1 - options.worth) * SlowestSeconds(ranks, current);
  return better ? best : current;
}

std::string SplitWords(absl::Span<const std::string> workers, absl::Span<const int64_t> sequences) {
  std::vector<std::string> parts;
  for (size_t r = 0; r < std::min(workers.size(), kNamedWorkers); ++r)
    parts.push_back(absl::StrCat(workers[r], " ", sequences[r]));
  if (workers.size() > kNamedWorkers)
    parts.push_back(absl::StrCat(
        Count(static_cast<int64_t>(workers.size() - kNamedWorkers), "other worker"), " the rest"));
  const int64_t all = std::accumulate(sequences.begin(), sequences.end(), int64_t{0});
  return absl::StrCat(absl::StrJoin(parts, ", "), " of ", Count(all, "sequence"));
}

}  // namespace tritter
