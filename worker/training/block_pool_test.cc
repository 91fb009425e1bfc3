#include "worker/training/block_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

namespace tritter {
namespace {

TEST(BlockPool, GivesABlockOutAgainForItsOwnSizeAlone) {
  BlockPool pool;
  void* const first = pool.Take(100'000);
  std::memset(first, 1, 100'000);
  EXPECT_EQ(pool.held_bytes(), 25 * 4096);
  pool.GiveBack(first);
  void* const smaller = pool.Take(50'000);
  EXPECT_NE(smaller, first);
  EXPECT_EQ(pool.Take(99'999), first);  // as many pages
  EXPECT_EQ(pool.held_bytes(), (25 + 13) * 4096);
  pool.GiveBack(smaller);
  pool.GiveBack(first);
  pool.GiveBack(nullptr);
}

TEST(BlockPool, DropsWhatWasNotUsedBetweenTwoCalls) {
  BlockPool pool;
  void* const used = pool.Take(4096);
  pool.GiveBack(pool.Take(3 * 4096));
  pool.DropUnused();  // both were taken before it
  EXPECT_EQ(pool.held_bytes(), 4 * 4096);
  pool.GiveBack(used);
  pool.GiveBack(pool.Take(4096));
  pool.DropUnused();
  EXPECT_EQ(pool.held_bytes(), 4096);
  pool.DropUnused();
  EXPECT_EQ(pool.held_bytes(), 0);
}

TEST(BlockPool, DropFreeLeavesWhatIsTaken) {
  BlockPool pool;
  auto* const taken = static_cast<char*>(pool.Take(8192));
  pool.GiveBack(pool.Take(4096));
  pool.DropFree();
  EXPECT_EQ(pool.held_bytes(), 8192);
  taken[8191] = 1;
  pool.GiveBack(taken);
}

TEST(BlockPool, SaysWhenTheSystemHasNoMore) {
  BlockPool pool;
  EXPECT_EQ(pool.Take(int64_t{1} << 60), nullptr);
  EXPECT_EQ(pool.held_bytes(), 0);
}

TEST(BlockPool, ServesSeveralThreads) {
  BlockPool pool;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (int i = 0; i < 200; ++i) {
        auto* const block = static_cast<int*>(pool.Take(4096 * (1 + i % 3)));
        block[0] = t;
        EXPECT_EQ(block[0], t);
        pool.GiveBack(block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  pool.DropFree();
  EXPECT_EQ(pool.held_bytes(), 0);
}

}  // namespace
}  // namespace tritter
