#include "inference/kv_pages.h"

#include <algorithm>
#include <set>

#include "gtest/gtest.h"

namespace tritter {
namespace {

TEST(KvPages, BytesAreTwoTimesLayersHeadsDimensionPositions) {
  ModelConfig config;
  config.layers = 4;
  config.kv_heads = 2;
  config.head_dim = 32;
  const KvPageLayout layout(config, KvFormat::kF32);
  EXPECT_EQ(layout.page_bytes, 2 * 4 * 2 * 32 * 16 * 4);
  EXPECT_EQ(layout.Offset(0, 0), 0);
  EXPECT_EQ(layout.Offset(3, 1) + layout.head_bytes, layout.page_bytes);
}

TEST(KvPages, RoundsPositionsUp) {
  EXPECT_EQ(KvPagesFor(1), 1);
  EXPECT_EQ(KvPagesFor(16), 1);
  EXPECT_EQ(KvPagesFor(17), 2);
}

// Counted position by position.
TEST(KvWindow, KeepsThePagesOfSinksAndWindowAndNoMoreThanItSays) {
  for (const int64_t window : {1, 2, 15, 16, 17, 64}) {
    for (const int64_t sinks : {0, 1, 16, 20}) {
      for (const int64_t chunk : {1, 2, 16, 37}) {
        ModelConfig config;
        config.window = window;
        config.sinks = sinks;
        const KvWindow kept(config, chunk);
        constexpr int64_t kPositions = 160;
        int64_t most = 0;
        for (int64_t from = 0; from < kPositions; ++from) {
          std::set<int64_t> seen, held;
          for (int64_t q = from; q < std::min(from + chunk, kPositions); ++q) {
            for (int64_t k = 0; k <= q; ++k) {
              if (q - k < window || k < sinks) seen.insert(k / 16);
            }
          }
          const int64_t pages = KvPagesFor(std::min(from + chunk, kPositions));
          for (int64_t page = 0; page < pages; ++page) {
            if (page < kept.sink_pages() || page >= kept.FirstPage(from)) held.insert(page);
          }
          ASSERT_EQ(held, seen) << "window " << window << " sinks " << sinks << " from " << from;
          most = std::max(most, static_cast<int64_t>(held.size()));
        }
        EXPECT_EQ(most, kept.MostPages(kPositions));
      }
    }
  }
  ModelConfig causal;
  EXPECT_EQ(KvWindow(causal, 8).FirstPage(1000), 0);
  EXPECT_EQ(KvWindow(causal, 8).MostPages(1000), 63);
}

TEST(KvPagePool, NeverGivesMoreThanItHasAndReusesWhatComesBack) {
  KvPagePool pool(32, 5);
  std::vector<uint8_t*> a, b;
  ASSERT_TRUE(*pool.Take(3, &a));
  EXPECT_FALSE(*pool.Take(3, &b));
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(pool.free_pages(), 2);
  const std::set<uint8_t*> first(a.begin(), a.end());
  EXPECT_EQ(first.size(), 3u);
  pool.Return(&a);
  EXPECT_EQ(pool.used_pages(), 0);
  ASSERT_TRUE(*pool.Take(5, &b));
  std::set<uint8_t*> all(b.begin(), b.end());
  EXPECT_EQ(all.size(), 5u);
  for (uint8_t* p : first) EXPECT_TRUE(all.count(p));
  pool.Return(&b);
}

TEST(KvPagePool, WithoutMemoryItSaysSoAndTakesNothing) {
  static int left = 1;
  KvPagePool pool(32, 3, {[](size_t bytes) -> void* {
                    return left-- > 0 ? KvMemory::FromSystem(bytes) : nullptr;
                  }});
  std::vector<uint8_t*> table;
  const absl::StatusOr<bool> taken = pool.Take(2, &table);
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kResourceExhausted) << taken.status();
  EXPECT_TRUE(table.empty());
  EXPECT_EQ(pool.free_pages(), 3);
  EXPECT_TRUE(*pool.Take(1, &table)) << "the page that was there";
  pool.Return(&table);
}

}  // namespace
}  // namespace tritter
