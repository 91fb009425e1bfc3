#include "inference/kv_pages.h"

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
