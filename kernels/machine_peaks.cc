#include "kernels/machine_peaks.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cpu/peak_loops.h"

namespace tritter {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds until all of body(0 … threads - 1) have returned.
double Together(int threads, const std::function<void(int)>& body) {
  const double start = Seconds();
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
  body(0);
  for (std::thread& t : others) t.join();
  return Seconds() - start;
}

}  // namespace

double ReadBandwidth(int threads, int64_t bytes) {
  const int64_t words = bytes / 8 / threads;
  std::vector<std::unique_ptr<uint64_t[]>> parts(threads);
  Together(threads, [&](int t) {  // each on the thread's own memory, touched by it first
    parts[t].reset(new uint64_t[words]);
    std::fill(parts[t].get(), parts[t].get() + words, uint64_t{1});
  });
  std::vector<uint64_t> sums(threads);
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    const double seconds =
        Together(threads, [&](int t) { sums[t] += SumWords(parts[t].get(), words); });
    best = std::max(best, static_cast<double>(words * 8 * threads) / seconds);
  }
  return sums[0] == 0 ? 0 : best;
}

double Int8Peak(int threads, double seconds) {
  if (!HasInt8DotProduct()) return 0;
  constexpr int64_t kRounds = 1 << 16;
  std::vector<double> operations(threads);
  const double elapsed = Together(threads, [&](int t) {
    const double start = Seconds();
    while (Seconds() - start < seconds)
      operations[t] += static_cast<double>(Int8DotProducts(kRounds));
  });
  double sum = 0;
  for (const double o : operations) sum += o;
  return sum / elapsed;
}

}  // namespace tritter
