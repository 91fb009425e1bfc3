// Attention over a paged cache of 2048 positions, head width 64 and 128, one KV head: microseconds
// and nanoseconds a page, for every format and for 1, 8 and 24 queries that share it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "kernels/kv_cache.h"

namespace tritter {
namespace {

constexpr int64_t kPositions = 2048;

void Bench(const KvOps& ops, KvFormat format, const char* name, int64_t d, int64_t count) {
  std::mt19937 rng(1);
  const auto random = [&] { return static_cast<float>(rng() % 2001) / 1000 - 1; };
  std::vector<float> q(count * d), out(count * d), k(d), v(d),
      scratch(KvScratchFloats(d, kPositions, count));
  for (float& x : q) x = random();
  const int64_t page = KvPageBytes(format, d);
  uint8_t* const memory = static_cast<uint8_t*>(std::aligned_alloc(64, page * kPositions / 16));
  std::vector<const uint8_t*> pages;
  for (int64_t p = 0; p < kPositions; ++p) {
    if (p % 16 == 0) pages.push_back(memory + p / 16 * page);
    for (float& x : k) x = random();
    for (float& x : v) x = random();
    KvStore(format, k.data(), v.data(), d, p % 16, memory + p / 16 * page);
  }
  KvQueries queries = {count, q.data(), out.data(), {}, {}, {}};
  for (int64_t i = 0; i < count; ++i) {
    queries.q_at[i] = queries.out_at[i] = i * d;
    queries.seen[i] = {0, 0, kPositions};
  }
  double best = 1e9;
  for (int run = 0; run < 50; ++run) {
    const auto start = std::chrono::steady_clock::now();
    ops.attend({format, pages.data(), 0, d}, queries, scratch.data());
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::free(memory);
  std::printf("%-8s %-5s d %3lld queries %lld %8.1f us %8.1f ns a page\n", ops.name, name,
              static_cast<long long>(d), static_cast<long long>(count), best * 1e6,
              best * 1e9 / (kPositions / 16));
}

}  // namespace
}  // namespace tritter

int main() {
  using tritter::KvFormat;
  for (const tritter::KvOps* ops : tritter::SupportedKvOps()) {
    if (ops == tritter::SupportedKvOps().front()) continue;  // without the instruction: for tests
    for (const int64_t d : {64, 128}) {
      for (const int64_t count : {1, 8, 24}) {
        tritter::Bench(*ops, KvFormat::kF32, "FP32", d, count);
        tritter::Bench(*ops, KvFormat::kBf16, "BF16", d, count);
        tritter::Bench(*ops, KvFormat::kInt4, "INT4", d, count);
      }
    }
  }
}
