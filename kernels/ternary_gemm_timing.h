// How long a ternary product takes, for benchmarks.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ternary_gemm.h"

namespace tritter {

struct ProductShape {
  int64_t rows, cols, tokens;
  double operations() const { return 2.0 * static_cast<double>(rows * cols * tokens); }
};

struct TimingOptions {
  int threads = 1;
  double seconds = 0.06;   // spent on one measurement
  bool cpu_clock = false;  // a thread's own CPU time, for a machine that is busy with other work
};

// Random weights of `bytes` in all. Each product takes another copy of its matrix among them, so
// that with one token it reads memory and not the cache.
class TernaryGemmTimer {
 public:
  explicit TernaryGemmTimer(int64_t bytes = int64_t{512} << 20);

  // Seconds a product. A thread takes its share of the row blocks of every product; threads do not
  // wait for each other.
  double Time(const TernaryKernel& kernel, const ProductShape& shape, const TimingOptions& options);

 private:
  int64_t next_ = 0;  // copy of a matrix
  std::vector<uint8_t> weights_;
};

}  // namespace tritter
