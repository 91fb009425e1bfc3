// Which CPUs threads are pinned to: of distinct physical cores first, since two hyperthreads of one
// share its units.
#pragma once

#include <vector>

namespace tritter {

struct CpuPlace {
  int cpu, package, core;  // numbers of the kernel; core within its package
};

// Those that this thread may run on, in ascending order; a core that is not known counts as one of
// its own.
std::vector<CpuPlace> AllowedCpus();
// Their CPUs, the first of every core before the second of any.
std::vector<int> SpreadOverCores(const std::vector<CpuPlace>& places);
// Keeps the calling thread on one CPU; false when the system refuses.
bool PinThisThread(int cpu);

}  // namespace tritter
