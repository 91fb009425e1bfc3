// GB/s of one update of many parameters, beside a stream (y += a x: two reads, one write) over
// arrays of the same size in the same run: what an optimiser step costs against the memory's speed.
//   optimizer_ops_bench [millions of parameters] [threads]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/optimizer_ops.h"

namespace tritter {
namespace {

// Best of five, over ranges of a multiple of the block of 8-bit moments.
double Seconds(int64_t n, int threads, const std::function<void(int64_t at, int64_t count)>& body) {
  double best = 1e30;
  const int64_t part = (n / threads + kMomentBlock - 1) / kMomentBlock * kMomentBlock;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    for (int64_t at = 0; at < n; at += part)
      workers.emplace_back([&body, at, count = std::min(part, n - at)] { body(at, count); });
    for (std::thread& worker : workers) worker.join();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

void Run(int64_t n, int threads) {
  std::vector<float> g(n, 1e-3f), w(n, 0.1f), m(n), v(n), average(n, 0.1f);
  std::vector<uint8_t> m_codes(n, 127), r_codes(n);
  std::vector<float> m_scales(MomentBlocks(n)), r_scales(MomentBlocks(n));
  const AdamWStep step = {1.0f, 0.9f, 0.95f, 0.5f, 0.5f, 1e-8f, 1e-3f, 0.1f, 0.99f};
  std::printf("%ld M parameters, %d threads, %s\n", n / 1'000'000, threads,
              SupportedOptimizerOps().back()->name);
  const auto line = [&](const char* name, double bytes, double seconds) {
    std::printf("%-28s %7.2f ms %7.2f GB/s (%g bytes a parameter)\n", name, 1e3 * seconds,
                bytes * static_cast<double>(n) / seconds / 1e9, bytes);
  };
  line("stream y += a x", 12, Seconds(n, threads, [&](int64_t at, int64_t count) {
         const float* x = g.data() + at;
         float* y = average.data() + at;
         for (int64_t i = 0; i < count; ++i) y[i] += 0.5f * x[i];
       }));
  line("AdamW, FP32 moments", 36, Seconds(n, threads, [&](int64_t at, int64_t count) {
         AdamWRows(step, g.data() + at, count, w.data() + at, m.data() + at, v.data() + at,
                   average.data() + at);
       }));
  line("AdamW, 8-bit moments", 24, Seconds(n, threads, [&](int64_t at, int64_t count) {
         const int64_t block = at / kMomentBlock;
         AdamW8Rows(step, g.data() + at, count, w.data() + at,
                    {m_codes.data() + at, m_scales.data() + block, r_codes.data() + at,
                     r_scales.data() + block},
                    average.data() + at);
       }));
  line("Muon, momentum", 16, Seconds(n, threads, [&](int64_t at, int64_t count) {
         MuonMomentumRows(g.data() + at, count, 1.0f, 0.95f, m.data() + at, v.data() + at);
       }));
  line("Muon, step", 20, Seconds(n, threads, [&](int64_t at, int64_t count) {
         MuonApplyRows({1e-3f, 2.0f, 0.1f, 0.99f}, v.data() + at, count, w.data() + at,
                       average.data() + at);
       }));
}

}  // namespace
}  // namespace tritter

int main(int argc, char** argv) {
  const int64_t millions = argc > 1 ? std::atoll(argv[1]) : 32;
  tritter::Run(millions * 1'000'000, argc > 2 ? std::atoi(argv[2]) : 2);
}
