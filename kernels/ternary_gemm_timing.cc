#include "kernels/ternary_gemm_timing.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "kernels/packing.h"

namespace tritter {
namespace {

double Seconds(bool cpu_clock) {
  timespec now;
  clock_gettime(cpu_clock ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

TernaryGemmTimer::TernaryGemmTimer(int64_t bytes)
    : weights_(static_cast<size_t>(std::max(bytes, int64_t{4} << 20))) {
  std::mt19937_64 rng(1);
  // Any bytes without code 3: code = one of 0, 1, 2 by clearing the high bit where both are set.
  for (size_t i = 0; i + 8 <= weights_.size(); i += 8) {
    uint64_t word = rng();
    word &= ~((word & (word >> 1) & 0x5555555555555555u) << 1);
    std::memcpy(&weights_[i], &word, 8);
  }
}

double TernaryGemmTimer::Time(const TernaryKernel& kernel, const ProductShape& shape,
                              const TimingOptions& options) {
  const int64_t stride = RoundUp(shape.cols, kTileCols), y_stride = RoundUp(shape.rows, kTileRows);
  std::vector<int8_t> x(static_cast<size_t>(shape.tokens * stride));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int8_t>(i * 37 % 255 - 127);
  // Times do not depend on them.
  const std::vector<int32_t> sums(static_cast<size_t>(shape.tokens), 0);
  std::vector<int32_t> y(static_cast<size_t>(shape.tokens * y_stride));
  const int64_t matrix_bytes = TiledBytes(shape.rows, shape.cols),
                copies = std::max<int64_t>(1, static_cast<int64_t>(weights_.size()) / matrix_bytes);
  const int64_t blocks = y_stride / kTileRows;
  const int64_t first = next_;
  next_ += 7;
  std::vector<double> seconds(static_cast<size_t>(options.threads));
  const auto work = [&](int thread) {
    const int64_t from = blocks * thread / options.threads,
                  to = blocks * (thread + 1) / options.threads;
    int64_t products = 0;
    double elapsed = 0;
    for (const double start = Seconds(options.cpu_clock); elapsed < options.seconds;
         elapsed = Seconds(options.cpu_clock) - start) {
      kernel.gemm(weights_.data() + (first + products++) % copies * matrix_bytes, shape.rows,
                  shape.cols, {x.data(), sums.data(), shape.tokens}, y.data() + from * kTileRows,
                  y_stride, from, to);
    }
    seconds[static_cast<size_t>(thread)] = elapsed / static_cast<double>(products);
  };
  std::vector<std::thread> threads;
  for (int t = 1; t < options.threads; ++t) threads.emplace_back(work, t);
  work(0);
  for (std::thread& thread : threads) thread.join();
  return *std::max_element(seconds.begin(), seconds.end());
}

}  // namespace tritter
