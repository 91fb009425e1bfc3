#include "curation/sample_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

SampleOrder Make(uint64_t seed, std::vector<OrderedSource> sources, std::vector<MixStage> stages) {
  auto order = SampleOrder::Create(seed, std::move(sources), std::move(stages));
  EXPECT_OK(order.status());
  return *std::move(order);
}

// What lets a run be extended: moving a stage changes nothing before the block that it cuts.
TEST(SampleOrder, ALaterStageBorderChangesNothingBeforeTheBlockThatTheEarlierOneCuts) {
  const auto make = [](uint64_t border) {
    return Make(7, {{"a", 137}, {"b", 1501}}, {{0, {3, 1}}, {border, {1, 3}}});
  };
  const SampleOrder early = make(12960), late = make(28960);
  constexpr uint64_t kSame = 12960 / SampleOrder::kBlockSlots * SampleOrder::kBlockSlots;
  const auto same = [&](uint64_t slot) {
    const SampleRef a = early.At(slot), b = late.At(slot);
    return a.source == b.source && a.sample == b.sample && a.pass == b.pass;
  };
  for (uint64_t slot = 0; slot < kSame; slot += slot % 7 + 1) EXPECT_TRUE(same(slot)) << slot;
  int differing = 0;
  for (uint64_t slot = kSame; slot < 12960; ++slot) differing += !same(slot);
  EXPECT_GT(differing, 0);
}

TEST(SampleOrder, EachSampleExactlyOncePerPass) {
  const SampleOrder order = Make(7, {{"a", 137}, {"b", 1501}}, {{0, {3, 1}}});
  std::map<std::pair<int, uint64_t>, std::set<uint64_t>> passes;  // (source, pass) → samples
  std::vector<uint64_t> counts(2);
  std::vector<uint64_t> last_pass(2);
  const uint64_t slots = 12345;
  for (uint64_t slot = 0; slot < slots; ++slot) {
    const SampleRef ref = order.At(slot);
    EXPECT_TRUE(passes[std::make_pair(ref.source, ref.pass)].insert(ref.sample).second)
        << "twice at slot " << slot;
    EXPECT_GE(ref.pass, last_pass[ref.source]) << "passes follow each other";
    last_pass[ref.source] = ref.pass;
    ++counts[ref.source];
  }
  for (const auto& [key, samples] : passes) {
    const uint64_t size = key.first == 0 ? 137 : 1501;
    EXPECT_LT(*samples.rbegin(), size);
    if (key.second < last_pass[key.first]) EXPECT_EQ(samples.size(), size);
  }
  EXPECT_EQ(order.Counts(slots), counts);
}

TEST(SampleOrder, TheNthSlotOfASourceTakesItsNthPlaceInTheKeyedPermutation) {
  // Brute force: deal the samples of each pass one after the other in slot order.
  const SampleOrder order = Make(99, {{"a", 50}, {"b", 70}, {"c", 1000}},
                                 {{0, {1, 2, 1}}, {2500, {0, 1, 4}}, {2600, {5, 0, 0}}});
  std::vector<uint64_t> dealt(3);
  const std::vector<std::pair<std::string, uint64_t>> sources = {{"a", 50}, {"b", 70}, {"c", 1000}};
  for (uint64_t slot = 0; slot < 6000; ++slot) {
    const SampleRef ref = order.At(slot);
    const auto& [name, samples] = sources[ref.source];
    const uint64_t n = dealt[ref.source]++;
    const Permutation expected(MixKey(99, 2, HashString(name), n / samples), samples);
    ASSERT_EQ(ref.pass, n / samples) << slot;
    ASSERT_EQ(ref.sample, expected(n % samples)) << slot;
  }
  EXPECT_EQ(order.Counts(6000), dealt);
}

TEST(SampleOrder, AnyTenThousandSlotsKeepTheWeightsWithinOnePercent) {
  const std::vector<double> weights = {0.4, 0.25, 0.15, 0.1, 0.1};
  std::vector<OrderedSource> sources;
  for (size_t i = 0; i < weights.size(); ++i)
    sources.push_back({std::string(1, static_cast<char>('a' + i)), 5000 + i});
  const SampleOrder order = Make(3, sources, {{0, weights}});
  constexpr uint64_t kSlots = 30000, kWindow = 10000;
  std::vector<int> source(kSlots);
  for (uint64_t s = 0; s < kSlots; ++s) source[s] = order.At(s).source;
  std::vector<double> window(weights.size());
  for (uint64_t s = 0; s < kSlots; ++s) {
    window[source[s]] += 1;
    if (s >= kWindow) window[source[s - kWindow]] -= 1;
    if (s + 1 < kWindow) continue;
    for (size_t i = 0; i < weights.size(); ++i) {
      ASSERT_NEAR(window[i] / kWindow, weights[i], 0.01)
          << "window ends at " << s << ", source " << i;
    }
  }
}

// How far any window of 10 000 slots is from what the weights in force over it come to.
double LargestDeviation(const SampleOrder& order, const std::vector<MixStage>& stages,
                        uint64_t first, uint64_t slots) {
  constexpr uint64_t kWindow = 10000;
  const size_t sources = stages[0].weights.size();
  const std::vector<SampleRef> refs = order.Range(first, slots);
  std::vector<double> difference(sources);
  std::vector<double> blend(slots * sources);
  double largest = 0;
  size_t stage = 0;
  for (uint64_t i = 0; i < slots; ++i) {
    while (stage + 1 < stages.size() && stages[stage + 1].first_slot <= first + i) ++stage;
    const std::vector<double>& w = stages[stage].weights;
    const double sum = std::accumulate(w.begin(), w.end(), 0.0);
    for (size_t s = 0; s < sources; ++s) {
      const double excess = (refs[i].source == static_cast<int>(s)) - w[s] / sum;
      blend[i * sources + s] = excess;
      difference[s] += excess;
      if (i >= kWindow) difference[s] -= blend[(i - kWindow) * sources + s];
      if (i + 1 >= kWindow) largest = std::max(largest, std::abs(difference[s]) / kWindow);
    }
  }
  return largest;
}

TEST(SampleOrder, AnyTenThousandSlotsKeepAnyWeightsWithinOnePercentAlsoAcrossStages) {
  Philox random(17);
  for (int round = 0; round < 16; ++round) {
    const size_t count = 1 + random.Below(round % 8 == 0 ? 30 : 6);
    std::vector<OrderedSource> sources;
    for (size_t i = 0; i < count; ++i)
      sources.push_back({absl::StrCat("s", i), 1 + random.Below(5000)});
    std::vector<MixStage> stages;
    uint64_t first = 0;
    for (size_t s = 0; s <= random.Below(4); ++s) {
      MixStage stage{first, {}};
      for (size_t i = 0; i < count; ++i)
        stage.weights.push_back(random.Below(4) == 0 && i > 0 ? 0.0 : 0.01 + random.Uniform());
      stages.push_back(stage);
      first += 1 + random.Below(9000);
    }
    const uint64_t seed = random.Next64();
    const SampleOrder order = Make(seed, sources, stages);
    const uint64_t offset = random.Below(2) == 0 ? 0 : random.Below(uint64_t{1} << 40);
    EXPECT_LE(LargestDeviation(order, stages, offset, 20000), 0.01)
        << "round " << round << ", seed " << seed << ", offset " << offset;
  }
}

TEST(SampleOrder, EveryWholeBlockHoldsTheLargestRemainderShare) {
  const SampleOrder order = Make(1, {{"a", 9}, {"b", 9}, {"c", 9}}, {{0, {1, 1, 1}}});
  EXPECT_THAT(order.Counts(1000), ElementsAre(334, 333, 333));
  EXPECT_THAT(order.Counts(7000), ElementsAre(7 * 334, 7 * 333, 7 * 333));
}

TEST(SampleOrder, AStageBeginsExactlyAtItsBorder) {
  const SampleOrder order =
      Make(5, {{"a", 100}, {"b", 100}}, {{0, {1, 0}}, {1234, {0, 1}}, {1300, {1, 1}}});
  for (uint64_t s = 0; s < 1300; ++s) EXPECT_EQ(order.At(s).source, s < 1234 ? 0 : 1) << s;
  EXPECT_THAT(order.Counts(1300), ElementsAre(1234, 66));
  EXPECT_THAT(order.Counts(2000), ElementsAre(1234 + 350, 66 + 350));
}

TEST(SampleOrder, IsPureAndKeyedByTheSeed) {
  const std::vector<OrderedSource> sources = {{"a", 1000}, {"b", 1000}};
  const SampleOrder one = Make(1, sources, {{0, {1, 1}}}), again = Make(1, sources, {{0, {1, 1}}}),
                    two = Make(2, sources, {{0, {1, 1}}});
  int same = 0;
  for (uint64_t i = 0; i < 2000; ++i) {
    const uint64_t slot = 1999 - i;  // backwards: nothing depends on what was asked before
    const SampleRef a = one.At(slot), b = again.At(slot), c = two.At(slot);
    EXPECT_TRUE(a.source == b.source && a.sample == b.sample && a.pass == b.pass);
    same += a.source == c.source && a.sample == c.sample;
  }
  EXPECT_LT(same, 20);
}

TEST(SampleOrder, PassesAreShuffledDifferentlyAndNotInOrder) {
  const SampleOrder order = Make(11, {{"a", 1000}}, {{0, {1}}});
  int in_place = 0, as_before = 0;
  for (uint64_t s = 0; s < 1000; ++s) {
    in_place += order.At(s).sample == s;
    as_before += order.At(s).sample == order.At(s + 1000).sample;
  }
  EXPECT_LT(in_place, 15);
  EXPECT_LT(as_before, 15);
}

TEST(SampleOrder, RandomMixesAgreeWithCountingSlotBySlot) {
  Philox random(2024);
  for (int round = 0; round < 16; ++round) {
    std::vector<OrderedSource> sources;
    const size_t n = 1 + random.Below(4);
    for (size_t i = 0; i < n; ++i)
      sources.push_back({std::string(1, static_cast<char>('a' + i)), 1 + random.Below(300)});
    std::vector<MixStage> stages;
    uint64_t border = 0;
    for (size_t s = 0, count = 1 + random.Below(4); s < count; ++s) {
      MixStage stage{border, {}};
      for (size_t i = 0; i < n; ++i)
        stage.weights.push_back(random.Below(3) == 0 && i > 0 ? 0.0 : 0.1 + random.Uniform());
      stages.push_back(std::move(stage));
      border += 1 + random.Below(1700);
    }
    const SampleOrder order = Make(round, sources, stages);
    std::vector<uint64_t> counts(n);
    for (uint64_t slot = 0; slot < 4000; ++slot) {
      if (slot % 397 == 0)
        ASSERT_EQ(order.Counts(slot), counts) << "round " << round << " slot " << slot;
      const SampleRef ref = order.At(slot);
      ASSERT_EQ(ref.pass, counts[ref.source] / sources[ref.source].samples);
      ASSERT_LT(ref.sample, sources[ref.source].samples);
      ++counts[ref.source];
    }
  }
}

TEST(SampleOrder, ARangeIsItsSlotsOneByOneAcrossBlocksAndStages) {
  const SampleOrder order =
      Make(17, {{"a", 50}, {"b", 70}, {"c", 1000}},
           {{0, {1, 2, 1}}, {2500, {0, 1, 4}}, {2600, {5, 0, 0}}, {3700, {1, 1, 1}}});
  EXPECT_TRUE(order.Range(5, 0).empty());
  for (const uint64_t batch : {1, 7, 512, 5000}) {
    for (uint64_t first = 0; first < 5000; first += batch) {
      const std::vector<SampleRef> range = order.Range(first, batch);
      ASSERT_EQ(range.size(), batch);
      for (uint64_t i = 0; i < batch; ++i) {
        const SampleRef one = order.At(first + i);
        ASSERT_TRUE(range[i].source == one.source && range[i].sample == one.sample &&
                    range[i].pass == one.pass)
            << "slot " << first + i << " in batches of " << batch;
      }
    }
  }
}

TEST(SampleOrder, RefusesWhatMakesNoSense) {
  using absl::StatusCode;
  EXPECT_THAT(SampleOrder::Create(0, {}, {{0, {}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("source")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 0}}, {{0, {1}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("'a'")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 1}}, {}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("slot 0")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 1}}, {{5, {1}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("slot 0")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 1}}, {{0, {1}}, {0, {1}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("above 0")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 1}}, {{0, {1, 2}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("expected 1, actual 2")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 1}}, {{0, {0}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("sum")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 1}}, {{0, {-1}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("actual -1")));
  EXPECT_THAT(SampleOrder::Create(0, {{"a", 1}}, {{0, {std::nan("")}}}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("weight")));
}

}  // namespace
}  // namespace tritter
