#include "inference/thread_pool.h"

#include <numeric>

#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(ThreadPool, EveryWorkerRunsEveryTaskOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> calls(threads, 0);
      pool.Run([&](int worker) { ++calls[worker]; });
      for (int c : calls) ASSERT_EQ(c, 1);
    }
  }
}

TEST(ThreadPool, BarrierMakesEarlierWritesVisible) {
  ThreadPool pool(3);
  std::vector<int64_t> values(1000, 0), sums(3, 0);
  pool.Run([&](int worker) {
    for (int round = 1; round <= 300; ++round) {
      const ThreadPool::Range mine = pool.Share(static_cast<int64_t>(values.size()), worker);
      for (int64_t i = mine.begin; i < mine.end; ++i) values[i] = round;
      pool.Barrier();
      sums[worker] += std::accumulate(values.begin(), values.end(), int64_t{0});
      pool.Barrier();
    }
  });
  for (int64_t s : sums) EXPECT_EQ(s, 1000 * 300 * 301 / 2);
}

TEST(ThreadPool, SharesCoverAllItemsWithoutOverlap) {
  ThreadPool pool(4);
  for (int64_t items : {0, 1, 3, 4, 17}) {
    int64_t next = 0;
    for (int worker = 0; worker < 4; ++worker) {
      const ThreadPool::Range r = pool.Share(items, worker);
      EXPECT_EQ(r.begin, next);
      EXPECT_LE(r.end - r.begin, items / 4 + 1);
      next = r.end;
    }
    EXPECT_EQ(next, items);
  }
}

}  // namespace
}  // namespace tritter
