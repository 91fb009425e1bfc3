#include "inference/cpu_cores.h"

#include <sched.h>

#include <fstream>
#include <map>
#include <string>
#include <utility>

namespace tritter {
namespace {

int ReadNumber(const std::string& path, int otherwise) {
  std::ifstream file(path);
  int number = 0;
  return file >> number ? number : otherwise;
}

}  // namespace

std::vector<CpuPlace> AllowedCpus() {
  std::vector<CpuPlace> places;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return places;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    const int core = ReadNumber(topology + "core_id", -1);
    // A negative package for cores that are not known: no other has it.
    places.push_back(core < 0
                         ? CpuPlace{cpu, -1 - cpu, 0}
                         : CpuPlace{cpu, ReadNumber(topology + "physical_package_id", 0), core});
  }
  return places;
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

}  // namespace tritter
