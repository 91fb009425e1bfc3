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

MemoryReader::MemoryReader(int threads, int64_t bytes)
    : words_(bytes / 8 / threads), parts_(threads), sums_(threads) {
  Together(threads, [&](int t) {  // each on the thread's own memory, touched by it first
    parts_[t].reset(new uint64_t[words_]);
    std::fill(parts_[t].get(), parts_[t].get() + words_, uint64_t{1});
  });
}

double MemoryReader::Pass() {
  const int threads = static_cast<int>(parts_.size());
  const double seconds =
      Together(threads, [&](int t) { sums_[t] += SumWords(parts_[t].get(), words_); });
  return static_cast<double>(words_ * 8 * threads) / seconds;
}

double ReadBandwidth(int threads) {
  MemoryReader reader(threads);
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) best = std::max(best, reader.Pass());
  return best;
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
