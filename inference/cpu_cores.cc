#include "inference/cpu_cores.h"

#include <sched.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tritter {
namespace {

// The numbers of a small file, -1 for a word that is none; empty when it cannot be read.
std::vector<int64_t> ReadNumbers(Env* env, const std::string& path) {
  std::vector<int64_t> numbers;
  const absl::StatusOr<std::string> text = env->ReadFile(path);
  if (!text.ok()) return numbers;
  for (absl::string_view word :
       absl::StrSplit(*text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty())) {
    int64_t number = 0;
    numbers.push_back(absl::SimpleAtoi(word, &number) ? number : -1);
  }
  return numbers;
}

int ReadNumber(Env* env, const std::string& path, int otherwise) {
  const std::vector<int64_t> numbers = ReadNumbers(env, path);
  return numbers.empty() ? otherwise : static_cast<int>(numbers[0]);
}

// Quota and period of one control group, in microseconds; fewer than two numbers: not known.
std::vector<int64_t> QuotaOfGroup(Env* env, const std::string& folder, bool version2) {
  if (version2) return ReadNumbers(env, folder + "/cpu.max");
  std::vector<int64_t> quota = ReadNumbers(env, folder + "/cpu.cfs_quota_us");
  for (const int64_t period : ReadNumbers(env, folder + "/cpu.cfs_period_us"))
    quota.push_back(period);
  return quota;
}

}  // namespace

std::vector<CpuPlace> PlacesOf(Env* env, const std::vector<int>& cpus) {
  std::vector<CpuPlace> places;
  for (const int cpu : cpus) {
    const std::string topology = absl::StrCat("/sys/devices/system/cpu/cpu", cpu, "/topology/");
    const int core = ReadNumber(env, topology + "core_id", -1);
    // A negative package for cores that are not known: no other has it.
    places.push_back(
        core < 0 ? CpuPlace{cpu, -1 - cpu, 0}
                 : CpuPlace{cpu, ReadNumber(env, topology + "physical_package_id", 0), core});
  }
  return places;
}

std::vector<CpuPlace> AllowedCpus() {
  std::vector<int> cpus;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  // It does not say with more CPUs than the set has room for: then all of them.
  const bool known = sched_getaffinity(0, sizeof(allowed), &allowed) == 0;
  const int count = known ? CPU_SETSIZE : static_cast<int>(std::thread::hardware_concurrency());
  for (int cpu = 0; cpu < count; ++cpu) {
    if (!known || CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  return PlacesOf(Env::Real(), cpus);
}

std::vector<int> SpreadOverCores(const std::vector<CpuPlace>& places) {
  std::map<std::pair<int, int>, size_t> taken;  // CPUs of a core so far
  std::vector<std::vector<int>> rounds;
  for (const CpuPlace& place : places) {
    const size_t round = taken[{place.package, place.core}]++;
    if (rounds.size() <= round) rounds.resize(round + 1);
    rounds[round].push_back(place.cpu);
  }
  std::vector<int> cpus;
  for (const std::vector<int>& round : rounds) cpus.insert(cpus.end(), round.begin(), round.end());
  return cpus;
}

bool PinThisThread(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  return sched_setaffinity(0, sizeof(one), &one) == 0;
}

std::optional<double> CpuQuota(Env* env) {
  std::optional<double> least;
  // Lines of "number:controllers:path"; version 2 has no controllers there. Without the file the
  // top group is looked at.
  const std::string groups = env->ReadFile("/proc/self/cgroup").value_or("0::/");
  for (absl::string_view line : absl::StrSplit(groups, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const bool version2 = parts[1].empty();
    if (!version2 && !absl::c_linear_search(absl::StrSplit(parts[1], ','), "cpu")) continue;
    const std::string root =
        version2 ? "/sys/fs/cgroup" : absl::StrCat("/sys/fs/cgroup/", parts[1]);
    // From the group upwards. In a container the path may be one of the host, and only the top
    // exists here.
    absl::string_view path = absl::StripSuffix(parts[2], "/");
    for (;;) {
      const std::vector<int64_t> quota = QuotaOfGroup(env, absl::StrCat(root, path), version2);
      if (quota.size() == 2 && quota[0] > 0 && quota[1] > 0) {
        const double cpus = static_cast<double>(quota[0]) / static_cast<double>(quota[1]);
        least = std::min(least.value_or(cpus), cpus);
      }
      if (path.empty()) break;
      path = path.substr(0, path.rfind('/') == path.npos ? 0 : path.rfind('/'));
    }
  }
  return least;
}

int DefaultThreads(const std::vector<CpuPlace>& places, std::optional<double> quota) {
  std::set<std::pair<int, int>> cores;
  for (const CpuPlace& place : places) cores.insert({place.package, place.core});
  const double threads = std::min(static_cast<double>(cores.size()), quota.value_or(cores.size()));
  return std::max(1, static_cast<int>(threads));
}

}  // namespace tritter
