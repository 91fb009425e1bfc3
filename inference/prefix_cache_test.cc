#include "inference/prefix_cache.h"

#include <deque>
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

KvWindow Window(int64_t window, int64_t sinks, int64_t chunk) {
  ModelConfig config;
  config.window = window;
  config.sinks = sinks;
  return KvWindow(config, chunk);
}

TEST(PrefixCache, AWindowGivesPagesBackThatOthersMayStillFind) {
  KvPagePool pool(32, 20);
  PrefixCache cache(&pool, true, Window(20, 4, 16));
  const Ids ids = Range(0, 112);
  PrefixCache::Table first, second;
  ASSERT_EQ(**cache.Take(ids, 112, &first), 0);
  EXPECT_EQ(pool.used_pages(), 0) << "promised";
  for (int64_t at = 0; at < 96; at += 16) {
    ASSERT_TRUE(cache.Advance(at, at + 16, &first).ok());
    cache.Share(ids, at + 16, &first);
    EXPECT_LE(cache.used_pages(), 4);
  }
  // At 80 the window begins at 61, in page 3; the sinks are in page 0.
  const auto held = [](const PrefixCache::Table& table) {
    std::vector<bool> there;
    for (const KvPage page : table.pages()) there.push_back(page != nullptr);
    return there;
  };
  EXPECT_EQ(held(first), (std::vector<bool>{true, false, false, true, true, true}));
  EXPECT_EQ(cache.idle_pages(), 2);
  EXPECT_EQ(**cache.Take(absl::MakeConstSpan(ids).first(90), 112, &second), 80);
  EXPECT_EQ(held(second), (std::vector<bool>{true, false, false, true, true}));
  EXPECT_EQ(second.pages()[3], first.pages()[3]);
  EXPECT_EQ(cache.used_pages(), 4) << "all of them shared";
  ASSERT_TRUE(cache.Advance(112, 112, &first).ok());  // lets go of 3 and 4, which the other holds
  EXPECT_EQ(held(second), (std::vector<bool>{true, false, false, true, true}));
  cache.Return(&first);
  cache.Return(&second);
  EXPECT_EQ(cache.used_pages(), 0);
  EXPECT_EQ(cache.idle_pages(), 6);
}

TEST(PrefixCache, UnderAWindowAPrefixIsFoundWhileAllOfItsPagesAreThere) {
  KvPagePool pool(32, 4);
  PrefixCache cache(&pool, true, Window(16, 0, 16));  // three pages at a time
  const Ids ids = Range(0, 80), other = Range(100, 80);
  PrefixCache::Table t;
  const auto compute = [&](const Ids& tokens, int64_t end) {
    const int64_t known = **cache.Take(tokens, 80, &t);
    for (int64_t at = known; at < end; at += 16) {
      ASSERT_TRUE(cache.Advance(at, at + 16, &t).ok());
      cache.Share(tokens, at + 16, &t);
    }
    cache.Return(&t);
  };
  compute(ids, 48);
  EXPECT_EQ(**cache.Take(ids, 80, &t), 48) << "the first page is known, if held by nobody";
  EXPECT_EQ(cache.used_pages(), 1) << "position 48 sees 33 to 48";
  cache.Return(&t);
  compute(other, 32);  // on the page that was free, and the second of those
  EXPECT_EQ(**cache.Take(ids, 80, &t), 16) << "the third is there, but not found";
  cache.Return(&t);
}

TEST(PrefixCache, PromisesUnderAWindowNeverExceedThePoolAndAreKept) {
  KvPagePool pool(32, 7);
  PrefixCache cache(&pool, true, Window(16, 0, 16));
  const Ids ids = Range(0, 400);
  PrefixCache::Table a, b, c;
  ASSERT_TRUE((*cache.Take(ids, 400, &a)).has_value());
  ASSERT_TRUE((*cache.Take(ids, 400, &b)).has_value());
  EXPECT_FALSE((*cache.Take(ids, 400, &c)).has_value()) << "three and three of seven";
  ASSERT_TRUE((*cache.Take(ids, 16, &c)).has_value()) << "one page is enough for this";
  ASSERT_TRUE(cache.Advance(0, 16, &c).ok());
  for (int64_t at = 0; at < 400; at += 16) {
    for (PrefixCache::Table* t : {&a, &b}) {
      ASSERT_TRUE(cache.Advance(at, at + 16, t).ok());
      cache.Share(ids, at + 16, t);
    }
  }
  for (PrefixCache::Table* t : {&a, &b, &c}) cache.Return(t);
  EXPECT_EQ(cache.used_pages(), 0);
  ASSERT_TRUE((*cache.Take({}, 400, &a)).has_value());
  ASSERT_TRUE((*cache.Take({}, 400, &b)).has_value()) << "promises end with their requests";
  cache.Return(&a);
  cache.Return(&b);
}

TEST(PrefixCache, WithoutMemoryForTheNextPageAWindowSaysSo) {
  static int left = 2;
  KvPagePool pool(32, 5, {[](size_t bytes) -> void* {
                    return left-- > 0 ? KvMemory::FromSystem(bytes) : nullptr;
                  }});
  PrefixCache cache(&pool, true, Window(40, 0, 16));
  PrefixCache::Table t;
  ASSERT_TRUE((*cache.Take({}, 200, &t)).has_value());
  EXPECT_TRUE(cache.Advance(0, 20, &t).ok());
  EXPECT_EQ(cache.Advance(20, 36, &t).code(), absl::StatusCode::kResourceExhausted);
  cache.Return(&t);
  EXPECT_EQ(pool.used_pages(), 0);
}

// Random requests that share beginnings. Every page carries the text it stands for, as a forward
// pass would leave it there, so that a wrong page is seen.
void RunRandomRequests(const KvWindow& window, int64_t chunk) {
  Philox random(3);
  constexpr int64_t kPages = 60;
  KvPagePool pool(32, kPages);
  PrefixCache cache(&pool, true, window);
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
        ASSERT_EQ(static_cast<int64_t>(r->table.pages().size()),
                  KvPagesFor(window.limited() ? *known : r->positions));
        for (int64_t p = 0; p < *known; p += 16) {
          const KvPage page = r->table.pages()[static_cast<size_t>(p / 16)];
          ASSERT_EQ(page != nullptr,
                    p / 16 < window.sink_pages() || p / 16 >= window.FirstPage(*known));
          if (page != nullptr) ASSERT_EQ(written[page], text_to(r->tokens, p + 16));
        }
        running.push_back(std::move(r));
      } else {
        ++refused;
      }
    }
    if (!running.empty()) {
      const size_t i = random.Below(running.size());
      Request& r = *running[i];
      const int64_t end = std::min<int64_t>(
          r.computed + 1 + static_cast<int64_t>(random.Below(static_cast<uint64_t>(chunk))),
          static_cast<int64_t>(r.tokens.size()));
      ASSERT_TRUE(cache.Advance(r.computed, end, &r.table).ok());
      int64_t pages_held = 0;
      for (int64_t p = 0; p < end; p += 16) {
        const KvPage page = r.table.pages()[static_cast<size_t>(p / 16)];
        ASSERT_EQ(page != nullptr,
                  p / 16 < window.sink_pages() || p / 16 >= window.FirstPage(r.computed));
        pages_held += page != nullptr;
        if (page != nullptr && p + 16 <= r.computed)
          ASSERT_EQ(written[page], text_to(r.tokens, p + 16));
      }
      ASSERT_LE(pages_held, window.MostPages(r.positions));
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
    held.erase(nullptr);
    ASSERT_EQ(cache.used_pages(), static_cast<int64_t>(held.size()));
  }
  for (const auto& r : running) cache.Return(&r->table);
  EXPECT_EQ(cache.used_pages(), 0);
  EXPECT_GT(reused, 10000);
  EXPECT_GT(refused, 10);
  std::deque<PrefixCache::Table> tables;
  const int64_t most = window.limited() ? window.MostPages(kPages * 16) : kPages;
  for (int64_t taken = 0; taken + most <= kPages; taken += most) {
    tables.emplace_back();
    EXPECT_TRUE((*cache.Take({}, kPages * 16, &tables.back())).has_value()) << "every page again";
  }
  for (PrefixCache::Table& t : tables) cache.Return(&t);
}

TEST(PrefixCache, RandomRequestsSeeTheirOwnTextAndLeakNothing) { RunRandomRequests({}, 50); }

TEST(PrefixCache, RandomRequestsUnderAWindowSeeTheirOwnTextAndLeakNothing) {
  RunRandomRequests(Window(30, 0, 20), 20);
  RunRandomRequests(Window(17, 20, 9), 9);
  RunRandomRequests(Window(1, 0, 40), 40);
}

}  // namespace
}  // namespace tritter
