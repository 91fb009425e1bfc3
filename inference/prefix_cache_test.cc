#include "inference/prefix_cache.h"

#include <map>
#include <set>

#include "common/random.h"
#include "gtest/gtest.h"

namespace tritter {
namespace {

using Ids = std::vector<int32_t>;

Ids Range(int32_t first, int64_t count) {
  Ids ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(first + static_cast<int32_t>(i));
  return ids;
}

TEST(PrefixCache, FindsWholeBlocksOfWhatWasShared) {
  KvPagePool pool(32, 20);
  PrefixCache cache(&pool, true);
  const Ids ids = Range(0, 40);
  PrefixCache::Table first, second, third;
  EXPECT_EQ(**cache.Take(ids, 50, &first), 0);
  EXPECT_EQ(first.pages().size(), 4u);
  cache.Share(ids, 40, &first);
  EXPECT_EQ(**cache.Take(ids, 50, &second), 32);
  EXPECT_EQ(second.pages()[0], first.pages()[0]);
  EXPECT_EQ(second.pages()[1], first.pages()[1]);
  EXPECT_NE(second.pages()[2], first.pages()[2]);
  EXPECT_EQ(cache.used_pages(), 6);
  cache.Return(&first);
  cache.Return(&second);
  EXPECT_EQ(cache.used_pages(), 0);
  EXPECT_EQ(cache.idle_pages(), 2);
  EXPECT_EQ(**cache.Take(absl::MakeConstSpan(ids).first(31), 31, &third), 16) << "whole blocks";
  cache.Return(&third);
  // The same tokens behind others are another text.
  Ids other = Range(100, 16);
  other.insert(other.end(), ids.begin() + 16, ids.end());
  EXPECT_EQ(**cache.Take(other, 50, &third), 0);
  cache.Return(&third);
}

TEST(PrefixCache, PagesComputedTwiceAreKeptOnce) {
  KvPagePool pool(32, 20);
  PrefixCache cache(&pool, true);
  const Ids ids = Range(0, 33);
  PrefixCache::Table a, b;
  ASSERT_TRUE((*cache.Take(ids, 33, &a)).has_value());
  ASSERT_TRUE((*cache.Take(ids, 33, &b)).has_value());
  EXPECT_EQ(pool.used_pages(), 6);
  cache.Share(ids, 20, &a);
  cache.Share(ids, 33, &b);  // block 0 is a's, block 1 is new
  EXPECT_EQ(b.pages()[0], a.pages()[0]);
  cache.Share(ids, 33, &a);
  EXPECT_EQ(a.pages()[1], b.pages()[1]);
  EXPECT_EQ(pool.used_pages(), 4);
  cache.Return(&a);
  cache.Return(&b);
  EXPECT_EQ(cache.idle_pages(), 2);
}

TEST(PrefixCache, GivesUpWhatWasLongestUnusedAndTheEndOfATextFirst) {
  KvPagePool pool(32, 4);
  PrefixCache cache(&pool, true);
  PrefixCache::Table t;
  const Ids old = Range(0, 32), recent = Range(100, 32);
  for (const Ids& ids : {old, recent}) {
    ASSERT_TRUE((*cache.Take(ids, 32, &t)).has_value());
    cache.Share(ids, 32, &t);
    cache.Return(&t);
  }
  EXPECT_EQ(cache.idle_pages(), 4);
  ASSERT_TRUE((*cache.Take(Range(200, 8), 8, &t)).has_value());
  cache.Return(&t);
  EXPECT_EQ(**cache.Take(old, 32, &t), 16);  // its second block went; two free pages are left
  EXPECT_FALSE((*cache.Take(recent, 100, &t)).has_value());
  cache.Return(&t);
  EXPECT_EQ(**cache.Take(recent, 32, &t), 32);
  cache.Return(&t);
  ASSERT_TRUE((*cache.Take(Range(200, 8), 64, &t)).has_value()) << "all of it";
  EXPECT_EQ(cache.idle_pages(), 0);
  cache.Return(&t);
  EXPECT_EQ(pool.used_pages(), 0);
}

TEST(PrefixCache, WhatIsHeldStaysAndWithoutRoomNothingIsDone) {
  KvPagePool pool(32, 3);
  PrefixCache cache(&pool, true);
  PrefixCache::Table held, t;
  const Ids ids = Range(0, 32);
  ASSERT_TRUE((*cache.Take(ids, 32, &held)).has_value());
  cache.Share(ids, 32, &held);
  EXPECT_FALSE((*cache.Take(ids, 64, &t)).has_value());
  EXPECT_TRUE(t.pages().empty());
  EXPECT_EQ(**cache.Take(ids, 48, &t), 32) << "two of its three pages are there";
  cache.Return(&held);
  EXPECT_EQ(cache.used_pages(), 3);
  cache.Return(&t);
  // The same when the prefix is idle: it is not given up for itself.
  EXPECT_FALSE((*cache.Take(ids, 64, &t)).has_value());
  EXPECT_EQ(**cache.Take(ids, 48, &t), 32);
  cache.Return(&t);
}

TEST(PrefixCache, WithoutMemoryTheFoundPrefixIsLetGo) {
  static int left = 2;
  KvPagePool pool(32, 5, {[](size_t bytes) -> void* {
                    return left-- > 0 ? KvMemory::FromSystem(bytes) : nullptr;
                  }});
  PrefixCache cache(&pool, true);
  PrefixCache::Table t;
  const Ids ids = Range(0, 32);
  ASSERT_TRUE((*cache.Take(ids, 32, &t)).has_value());
  cache.Share(ids, 32, &t);
  cache.Return(&t);
  EXPECT_EQ(cache.Take(ids, 48, &t).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(cache.used_pages(), 0);
  EXPECT_EQ(cache.idle_pages(), 2);
}

TEST(PrefixCache, WithoutReuseNothingIsKept) {
  KvPagePool pool(32, 8);
  PrefixCache cache(&pool, false);
  PrefixCache::Table t;
  const Ids ids = Range(0, 64);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(**cache.Take(ids, 64, &t), 0);
    cache.Share(ids, 64, &t);
    cache.Return(&t);
    EXPECT_EQ(pool.used_pages(), 0);
  }
}

// Random requests that share beginnings. Every page carries the text it stands for, as a forward
// pass would leave it there, so that a wrong page is seen.
TEST(PrefixCache, RandomRequestsSeeTheirOwnTextAndLeakNothing) {
  Philox random(3);
  constexpr int64_t kPages = 60;
  KvPagePool pool(32, kPages);
  PrefixCache cache(&pool, true);
  struct Request {
    Ids tokens;
    int64_t positions, computed;
    PrefixCache::Table table;
  };
  std::map<KvPage, Ids> written;
  const auto text_to = [](const Ids& ids, int64_t end) {
    return Ids(ids.begin(), ids.begin() + end);
  };
  std::vector<std::unique_ptr<Request>> running;
  int64_t reused = 0, refused = 0;
  for (int round = 0; round < 20000; ++round) {
    if (random.Below(3) > 0) {
      auto r = std::make_unique<Request>();
      // Few beginnings, met often; two letters, so that texts part late.
      for (uint64_t n = 1 + random.Below(120); n > 0; --n)
        r->tokens.push_back(static_cast<int32_t>(random.Below(16) == 0));
      r->positions = static_cast<int64_t>(r->tokens.size() + random.Below(20));
      const auto known = *cache.Take(absl::MakeConstSpan(r->tokens).first(r->tokens.size() - 1),
                                     r->positions, &r->table);
      if (known.has_value()) {
        r->computed = *known;
        reused += *known;
        ASSERT_EQ(static_cast<int64_t>(r->table.pages().size()), KvPagesFor(r->positions));
        for (int64_t p = 0; p < *known; p += 16)
          ASSERT_EQ(written[r->table.pages()[static_cast<size_t>(p / 16)]],
                    text_to(r->tokens, p + 16));
        running.push_back(std::move(r));
      } else {
        ++refused;
      }
    }
    if (!running.empty()) {
      const size_t i = random.Below(running.size());
      Request& r = *running[i];
      const int64_t end = std::min<int64_t>(r.computed + 1 + static_cast<int64_t>(random.Below(50)),
                                            static_cast<int64_t>(r.tokens.size()));
      for (int64_t p = r.computed / 16 * 16; p < end; p += 16)
        written[r.table.pages()[static_cast<size_t>(p / 16)]] =
            text_to(r.tokens, std::min(p + 16, end));
      r.computed = end;
      cache.Share(r.tokens, r.computed, &r.table);
      if (end == static_cast<int64_t>(r.tokens.size()) || random.Below(8) == 0) {
        cache.Return(&r.table);
        running.erase(running.begin() + static_cast<int64_t>(i));
      }
    }
    std::set<KvPage> held;
    for (const auto& r : running) held.insert(r->table.pages().begin(), r->table.pages().end());
    ASSERT_EQ(cache.used_pages(), static_cast<int64_t>(held.size()));
  }
  for (const auto& r : running) cache.Return(&r->table);
  EXPECT_EQ(cache.used_pages(), 0);
  EXPECT_GT(reused, 10000);
  EXPECT_GT(refused, 10);
  PrefixCache::Table all;
  EXPECT_TRUE((*cache.Take({}, kPages * 16, &all)).has_value()) << "every page can be had again";
  cache.Return(&all);
}

}  // namespace
}  // namespace tritter
