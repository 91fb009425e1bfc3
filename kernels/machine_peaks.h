// What this machine can do at most, measured: the limits that benchmarks hold the kernels against.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace tritter {

// Memory that is read to learn how fast that goes: `bytes` in all, far more than the caches hold, a
// part for each of `threads` threads.
class MemoryReader {
 public:
  explicit MemoryReader(int threads, int64_t bytes = int64_t{1} << 30);
  // Bytes a second that the threads read together in one pass of 64-byte loads.
  double Pass();

 private:
  const int64_t words_;  // of a thread
  std::vector<std::unique_ptr<uint64_t[]>> parts_;
  std::vector<uint64_t> sums_;
};

// The best of several passes.
double ReadBandwidth(int threads);

// int8 operations a second (a product and an addition count two) of `threads` threads that do
// nothing but the widest integer dot product of this CPU on registers; 0 where it has none.
double Int8Peak(int threads, double seconds = 0.2);

}  // namespace tritter
