// Attention over pages: what is stored against its definition, and every instruction set against
// AttendRow over the stored values, bit for bit.
#include "kernels/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "gtest/gtest.h"
#include "kernels/attention_mask.h"
#include "kernels/float_ops.h"
#include "kernels/half.h"

namespace tritter {
namespace {

using Floats = std::vector<float>;
constexpr KvFormat kFormats[] = {KvFormat::kF32, KvFormat::kBf16, KvFormat::kInt4};

Floats RandomFloats(std::mt19937& rng, int64_t n, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  Floats v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

// Pages of one sequence; what is not stored yet is noise.
struct Cache {
  Cache(std::mt19937& rng, KvFormat format, int64_t d, int64_t positions)
      : format(format), d(d), memory((positions + 15) / 16) {
    for (auto& page : memory) {
      page.resize(kOffset + KvPageBytes(format, d));
      for (uint8_t& byte : page) byte = static_cast<uint8_t>(rng());
      pages.push_back(page.data());
    }
  }
  void Store(int64_t position, const float* k, const float* v) {
    KvStore(format, k, v, d, position % 16, memory[position / 16].data() + kOffset);
  }
  void Load(int64_t position, float* k, float* v) const {
    KvLoad(format, pages[position / 16] + kOffset, d, position % 16, k, v);
  }
  static constexpr int64_t kOffset = 64;
  const KvFormat format;
  const int64_t d;
  std::vector<std::vector<uint8_t>> memory;
  std::vector<const uint8_t*> pages;
};

TEST(KvCache, AttendsToTheStoredValuesLikeAttendRowBitForBit) {
  std::mt19937 rng(4);
  for (const KvFormat format : kFormats) {
    for (const int64_t d : {2, 10, 20, 32, 64, 80, 128}) {
      for (const int64_t positions : {1, 15, 16, 17, 48, 64, 143}) {
        Cache cache(rng, format, d, positions);
        Floats k(positions * d), v(positions * d);
        for (int64_t p = 0; p < positions; ++p) {
          const Floats key = RandomFloats(rng, d), value = RandomFloats(rng, d);
          cache.Store(p, key.data(), value.data());
        }
        for (int64_t p = 0; p < positions; ++p) cache.Load(p, &k[p * d], &v[p * d]);
        for (const int64_t count : {1, 2, 3, 7, 8, 13, 24}) {
          const Floats q = RandomFloats(rng, count * (d + 1), 2.0f);
          Floats want(count * (d + 3), 9.0f), scratch(KvScratchFloats(d, positions, count));
          KvQueries queries = {count, q.data(), nullptr, {}, {}, {}};
          for (int64_t i = 0; i < count; ++i) {
            queries.q_at[i] = i * (d + 1);
            queries.out_at[i] = i * (d + 3);
            queries.seen[i].end =
                std::max<int64_t>(1, positions - (count - 1 - i) * (1 + positions % 3));
            AttendRow(&q[i * (d + 1)], k.data(), v.data(), d, queries.seen[i].end, d,
                      scratch.data(), &want[i * (d + 3)]);
          }
          for (const KvOps* ops : SupportedKvOps()) {
            Floats got(want.size(), 9.0f);
            queries.out = got.data();
            ops->attend({format, cache.pages.data(), Cache::kOffset, d}, queries, scratch.data());
            ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * 4), 0)
                << ops->name << " format " << static_cast<int>(format) << " d " << d
                << " positions " << positions << " queries " << count;
          }
        }
      }
    }
  }
}

// Against AttendRow over what each query sees, put side by side. What nobody sees is no number, and
// a page of it is not there.
TEST(KvCache, AttendsToSinksAndWindowAloneBitForBit) {
  std::mt19937 rng(9);
  constexpr int64_t kPositions = 150;
  for (const auto& [format, d] : {std::pair{KvFormat::kF32, int64_t{10}},
                                  {KvFormat::kF32, 80},
                                  {KvFormat::kBf16, 64},
                                  {KvFormat::kInt4, 40}}) {
    const Floats keys_given = RandomFloats(rng, kPositions * d),
                 values_given = RandomFloats(rng, kPositions * d), nothing(d, NAN);
    Floats k(kPositions * d), v(kPositions * d);
    Cache cache(rng, format, d, kPositions);
    const std::vector<const uint8_t*> pages = cache.pages;
    for (int64_t p = 0; p < kPositions; ++p) {
      cache.Store(p, &keys_given[p * d], &values_given[p * d]);
      cache.Load(p, &k[p * d], &v[p * d]);
    }
    for (const int64_t window : {1, 2, 15, 16, 17, 40, 70, 1000}) {
      for (const int64_t sinks : {0, 1, 4, 16, 30}) {
        for (const int64_t last : {0, 20, 33, 63, 64, 100, 149}) {
          for (const int64_t count : {1, 2, 7, 24}) {
            const AttentionMask mask{.length = kPositions, .window = window, .sinks = sinks};
            const Floats q = RandomFloats(rng, count * d, 2.0f);
            Floats want(count * d);
            const int64_t slots = last + 1 + (sinks + 15) / 16 * 16;
            Floats scratch(KvScratchFloats(d, slots, count));
            KvQueries queries = {count, q.data(), nullptr, {}, {}, {}};
            std::vector<bool> seen(kPositions);
            for (int64_t i = 0; i < count; ++i) {
              const int64_t query = std::max<int64_t>(0, last - (count - 1 - i) / 3);
              queries.q_at[i] = queries.out_at[i] = i * d;
              queries.seen[i] = KeysOf(mask, query);
              Floats keys, values;
              for (int64_t p = 0; p <= query; ++p) {
                if (query - p >= window && p >= sinks) continue;
                seen[p] = true;
                keys.insert(keys.end(), &k[p * d], &k[p * d] + d);
                values.insert(values.end(), &v[p * d], &v[p * d] + d);
              }
              const int64_t n = static_cast<int64_t>(keys.size()) / d;
              AttendRow(&q[i * d], keys.data(), values.data(), d, n, d, scratch.data(),
                        &want[i * d]);
            }
            cache.pages = pages;
            for (int64_t p = 0; p < kPositions; ++p) {
              cache.Store(p, seen[p] ? &keys_given[p * d] : nothing.data(),
                          seen[p] ? &values_given[p * d] : nothing.data());
            }
            for (int64_t p = 0; p < kPositions; p += 16) {
              const auto begin = seen.begin() + p,
                         end = seen.begin() + std::min(p + 16, kPositions);
              if (std::find(begin, end, true) == end) cache.pages[p / 16] = nullptr;
            }
            for (const KvOps* ops : SupportedKvOps()) {
              Floats got(want.size());
              queries.out = got.data();
              ops->attend({format, cache.pages.data(), Cache::kOffset, d}, queries, scratch.data());
              ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * 4), 0)
                  << ops->name << " format " << static_cast<int>(format) << " d " << d << " window "
                  << window << " sinks " << sinks << " last " << last << " queries " << count;
            }
          }
        }
      }
    }
  }
}

TEST(KvCache, StoringASlotLeavesTheOthersAlone) {
  std::mt19937 rng(5);
  for (const KvFormat format : kFormats) {
    const int64_t d = 80;
    Cache cache(rng, format, d, 16);
    std::vector<Floats> keys(16, Floats(d)), values = keys;
    for (int i = 0; i < 100; ++i) {
      const int64_t slot = i < 16 ? i : rng() % 16;
      const Floats k = RandomFloats(rng, d), v = RandomFloats(rng, d);
      cache.Store(slot, k.data(), v.data());
      cache.Load(slot, keys[slot].data(), values[slot].data());
      Floats key(d), value(d);
      for (int64_t other = 0; other < std::min(i + 1, 16); ++other) {
        cache.Load(other, key.data(), value.data());
        ASSERT_EQ(key, keys[other]);
        ASSERT_EQ(value, values[other]);
      }
    }
  }
}

TEST(KvCache, Fp32IsExactAndBf16RoundsToNearest) {
  std::mt19937 rng(6);
  const int64_t d = 64;
  const Floats k = RandomFloats(rng, d), v = RandomFloats(rng, d);
  Floats key(d), value(d);
  Cache exact(rng, KvFormat::kF32, d, 1), half(rng, KvFormat::kBf16, d, 1);
  exact.Store(0, k.data(), v.data());
  exact.Load(0, key.data(), value.data());
  EXPECT_EQ(key, k);
  EXPECT_EQ(value, v);
  half.Store(0, k.data(), v.data());
  half.Load(0, key.data(), value.data());
  for (int64_t i = 0; i < d; ++i) {
    EXPECT_LE(std::fabs(key[i] - k[i]), std::fabs(k[i]) / 256);
    EXPECT_LE(std::fabs(value[i] - v[i]), std::fabs(v[i]) / 256);
  }
}

TEST(KvCache, Int4ErrsByHalfAScaleAtMost) {
  std::mt19937 rng(7);
  const int64_t d = 32;  // one group
  for (int i = 0; i < 20000; ++i) {
    const float size = std::ldexp(1.0f, static_cast<int>(rng() % 26) - 15),
                centre = size * (static_cast<float>(rng() % 200) / 10 - 10);
    Floats x = RandomFloats(rng, d, size);
    for (float& e : x) e = std::clamp(e + centre, -65000.0f, 65000.0f);
    if (i % 5 == 0) std::fill(x.begin() + 1, x.end(), x[0] + size * static_cast<float>(i % 3));
    Cache cache(rng, KvFormat::kInt4, d, 1);
    cache.Store(0, x.data(), x.data());
    Floats key(d), value(d);
    cache.Load(0, key.data(), value.data());
    ASSERT_EQ(key, value) << "keys and values are stored by one rule";
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    // The minimum is an FP16 below the lowest, the scale an FP16 above a fifteenth of the range.
    const float minimum = HalfToFloat(HalfDown(*low));
    const float scale = *low == *high
                            ? 0.0f
                            : HalfToFloat(HalfUp(std::nextafter((*high - minimum) / 15, INFINITY)));
    for (int64_t j = 0; j < d; ++j) {
      if (*low == *high) {
        ASSERT_EQ(key[j], HalfToFloat(HalfNearest(x[j])));
      } else {  // and what rounding the products in FP32 adds
        ASSERT_LE(std::fabs(key[j] - x[j]),
                  scale / 2 * 1.0001f + 4e-7f * std::max(std::fabs(*low), std::fabs(*high)))
            << x[j] << " low " << *low << " high " << *high << " scale " << scale;
      }
    }
  }
}

TEST(KvCache, Int4OfExtremes) {
  std::mt19937 rng(8);
  const int64_t d = 64;
  Floats x(d, 0.0f), key(d), value(d);
  Cache cache(rng, KvFormat::kInt4, d, 1);
  cache.Store(0, x.data(), x.data());
  cache.Load(0, key.data(), value.data());
  EXPECT_EQ(key, x) << "zero is exact";
  std::fill(x.begin(), x.end(), 1.5f);
  cache.Store(0, x.data(), x.data());
  cache.Load(0, key.data(), value.data());
  EXPECT_EQ(value, x) << "what FP16 holds is exact where a group is constant";
  x[3] = NAN;
  cache.Store(0, x.data(), x.data());
  cache.Load(0, key.data(), value.data());
  for (int64_t i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(key[i])) << "never hidden";
  for (int64_t i = 32; i < d; ++i) EXPECT_EQ(key[i], 1.5f) << "the other group is as it was";
  x[3] = 1e30f;
  x[4] = -1e30f;
  cache.Store(0, x.data(), x.data());
  cache.Load(0, key.data(), value.data());
  for (const float v : key) EXPECT_TRUE(std::isfinite(v));
}

TEST(KvCache, BytesAreAsTheFormatSays) {
  EXPECT_EQ(KvPageBytes(KvFormat::kF32, 64), 16 * 2 * 64 * 4);
  EXPECT_EQ(KvPageBytes(KvFormat::kBf16, 64), 16 * 2 * 64 * 2);
  // Half a byte an element, and two FP16 for each of the two groups of a key and of a value.
  EXPECT_EQ(KvPageBytes(KvFormat::kInt4, 64), 16 * 2 * (64 / 2 + 2 * 4));
}

}  // namespace
}  // namespace tritter
