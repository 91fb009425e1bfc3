// The CPUs that this process may use, and on how many threads it is worth to compute. Two
// hyperthreads of one physical core share its units: the second of them adds next to nothing.
#pragma once

#include <optional>
#include <vector>

#include "common/env.h"

namespace tritter {

struct CpuPlace {
  int cpu, package, core;  // numbers of the kernel; core within its package
};

// Where these CPUs are, as the kernel tells below /sys; a core that is not known counts as one of
// its own.
std::vector<CpuPlace> PlacesOf(Env* env, const std::vector<int>& cpus);
// Of the CPUs that this thread may run on (its affinity), in ascending order.
std::vector<CpuPlace> AllowedCpus();
// Their CPUs, the first of every core before the second of any.
std::vector<int> SpreadOverCores(const std::vector<CpuPlace>& places);
// Keeps the calling thread on one CPU; false when the system refuses.
bool PinThisThread(int cpu);

// How many CPUs' time the control groups of this process let it have, 1.5 being one and a half: the
// least of its group and those above (version 2: cpu.max; version 1: cpu.cfs_quota_us of
// cpu.cfs_period_us). Nothing when there is no such limit.
std::optional<double> CpuQuota(Env* env);
// How many threads compute when nobody says: one for every physical core among `places`, but no
// more than the quota, rounded down, and at least one.
int DefaultThreads(const std::vector<CpuPlace>& places, std::optional<double> quota);

}  // namespace tritter
