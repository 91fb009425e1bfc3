// Speed of every ternary kernel this CPU can run: decode (1 token, weights from memory), small
// batches and prefill.
//   ternary_gemm_bench [--threads N] [--seconds S] [--kernel NAME] [--clock cpu] [--mib M]
// Prints per kernel and shape: microseconds a product, GB/s of packed weights read, GOP/s (2 x rows
// x cols x tokens). Each pass takes another copy of the weights, M MiB (512) of them in all, so
// that decode reads memory and not the cache.
// --clock cpu counts a thread's own CPU time, for a machine that is busy with other work.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/packing.h"
#include "kernels/ternary_gemm.h"

namespace tritter {
namespace {

struct Options {
  int threads = 1;
  double seconds = 0.3;  // per line
  std::string kernel;    // all
  bool cpu_clock = false;
  int64_t bytes = int64_t{512} << 20;
};

double Seconds(bool cpu_clock) {
  timespec now;
  clock_gettime(cpu_clock ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Shape {
  int64_t rows, cols, tokens;
};

class Bench {
 public:
  explicit Bench(int64_t bytes) : weights_(bytes) {
    std::mt19937_64 rng(1);
    // Any bytes without code 3: code = one of 0, 1, 2 by clearing the high bit where both are set.
    for (size_t i = 0; i + 8 <= weights_.size(); i += 8) {
      uint64_t word = rng();
      word &= ~((word & (word >> 1) & 0x5555555555555555u) << 1);
      std::memcpy(&weights_[i], &word, 8);
    }
  }

  // Best of five runs of seconds / 5, in seconds a product.
  double Time(const TernaryKernel& kernel, const Shape& shape, const Options& options) {
    const int64_t stride = RoundUp(shape.cols, kTileCols),
                  y_stride = RoundUp(shape.rows, kTileRows);
    std::vector<int8_t> x(shape.tokens * stride, 0);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int8_t>(i * 37 % 255 - 127);
    const std::vector<int32_t> sums(shape.tokens, 0);  // times do not depend on them
    std::vector<int32_t> y(shape.tokens * y_stride);
    const int64_t matrix_bytes = TiledBytes(shape.rows, shape.cols),
                  copies = std::max<int64_t>(1, options.bytes / matrix_bytes);
    const int64_t blocks = y_stride / kTileRows;
    double best = 1e9;
    for (int repeat = 0; repeat < 5; ++repeat) {
      std::vector<double> seconds_each(options.threads);
      // A thread takes its share of the row blocks of every product; threads do not wait for each
      // other.
      const auto work = [&](int thread) {
        int64_t products = 0;
        double elapsed = 0;
        for (const double start = Seconds(options.cpu_clock); elapsed < options.seconds / 5;
             elapsed = Seconds(options.cpu_clock) - start) {
          kernel.gemm(weights_.data() + (products++ + repeat * 7) % copies * matrix_bytes,
                      shape.rows, shape.cols, {x.data(), sums.data(), shape.tokens},
                      y.data() + blocks * thread / options.threads * kTileRows, y_stride,
                      blocks * thread / options.threads, blocks * (thread + 1) / options.threads);
        }
        seconds_each[thread] = elapsed / static_cast<double>(products);
      };
      std::vector<std::thread> threads;
      for (int t = 1; t < options.threads; ++t) threads.emplace_back(work, t);
      work(0);
      for (std::thread& thread : threads) thread.join();
      best = std::min(best, *std::max_element(seconds_each.begin(), seconds_each.end()));
    }
    return best;
  }

 private:
  std::vector<uint8_t> weights_;
};

int Main(const Options& options) {
  std::printf("cpu: %s; threads: %d\n%-12s %12s %7s %10s %8s %9s\n", CpuFeatures().c_str(),
              options.threads, "kernel", "rows x cols", "tokens", "us", "GB/s", "GOP/s");
  Bench bench(std::max(options.bytes, int64_t{4} << 20));
  for (const TernaryKernel* kernel : SupportedTernaryKernels()) {
    if (!options.kernel.empty() && options.kernel != kernel->name) continue;
    const bool scalar = kernel == &ScalarTernaryKernel();
    const std::vector<Shape> shapes =
        scalar ? std::vector<Shape>{{256, 2048, 1}}
               : std::vector<Shape>{{2048, 2048, 1},   {5632, 2048, 1},   {2048, 5632, 1},
                                    {2048, 2048, 2},   {2048, 2048, 4},   {2048, 2048, 8},
                                    {2048, 2048, 12},  {2048, 2048, 16},  {2048, 2048, 128},
                                    {2048, 2048, 512}, {5632, 2048, 512}, {2048, 5632, 512}};
    for (const Shape& shape : shapes) {
      const double seconds = bench.Time(*kernel, shape, options);
      std::printf(
          "%-12s %5lldx%-6lld %7lld %10.1f %8.2f %9.1f\n", kernel->name,
          static_cast<long long>(shape.rows), static_cast<long long>(shape.cols),
          static_cast<long long>(shape.tokens), seconds * 1e6,
          static_cast<double>(TiledBytes(shape.rows, shape.cols)) / seconds / 1e9,
          2.0 * static_cast<double>(shape.rows * shape.cols * shape.tokens) / seconds / 1e9);
    }
  }
  return 0;
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  tritter::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0)
      options.threads = std::max(1, std::atoi(argv[i + 1]));
    if (std::strcmp(argv[i], "--seconds") == 0) options.seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--kernel") == 0) options.kernel = argv[i + 1];
    if (std::strcmp(argv[i], "--mib") == 0)
      options.bytes = static_cast<int64_t>(std::atoi(argv[i + 1])) << 20;
    if (std::strcmp(argv[i], "--clock") == 0)
      options.cpu_clock = std::strcmp(argv[i + 1], "cpu") == 0;
  }
  return tritter::Main(options);
}
