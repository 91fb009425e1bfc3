#include "coordinator/decide/split.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "common/random.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<RankSpeed> Speeds(const std::vector<double>& seconds) {
  std::vector<RankSpeed> out;
  for (const double s : seconds) out.push_back({s});
  return out;
}

TEST(IsMeasured, WhereDevicesDifferOrWhenAskedFor) {
  struct Case {
    const char* split;
    std::vector<std::string> devices;
    bool want;
  };
  const Case cases[] = {
      {"auto", {"cpu avx2 x4", "cpu avx2 x4"}, false},
      {"auto", {"cpu avx2 x4", "cpu avx2 x2"}, true},
      {"auto", {"cpu avx2 x4", "cpu avx512_vnni x4"}, true},
      {"auto", {"cuda:0 A", "cuda:1 A", "cuda:11 A"}, false},
      {"auto", {"cuda:0 A", "cuda:0 B"}, true},
      {"auto", {"cuda:0 A", "cpu avx2 x4"}, true},
      {"measured", {"cpu avx2 x4", "cpu avx2 x4"}, true},
      {"measured", {"cpu avx2 x4"}, false},
      {"equal", {"cuda:0 A", "cuda:0 B"}, false},
  };
  for (const Case& c : cases)
    EXPECT_EQ(IsMeasured(c.split, c.devices), c.want) << c.split << " " << c.devices.back();
}

TEST(SplitBatch, Table) {
  EXPECT_THAT(SplitBatch(Speeds({0.1, 0.1}), 16), ElementsAre(8, 8));
  EXPECT_THAT(SplitBatch(Speeds({0.1, 0.2}), 12), ElementsAre(8, 4));
  EXPECT_THAT(SplitBatch(Speeds({0.3, 0.1}), 16), ElementsAre(4, 12));
  EXPECT_THAT(SplitBatch(Speeds({1e-4, 1.0}), 16), ElementsAre(15, 1)) << "one each at least";
  EXPECT_THAT(SplitBatch(Speeds({0.1, 0.1, 0.1}), 4), ElementsAre(2, 1, 1));
  EXPECT_THAT(SplitBatch(Speeds({0.5}), 7), ElementsAre(7));
  EXPECT_THAT(SplitBatch({{0.1, 4}, {0.2}}, 12), ElementsAre(4, 8)) << "memory";
  EXPECT_THAT(SplitBatch({{0.1, 4}, {0.2, 7}}, 12), IsEmpty()) << "too little of it";
  EXPECT_THAT(SplitBatch(Speeds({0.1, 0}), 16), IsEmpty()) << "unknown";
  EXPECT_THAT(SplitBatch(Speeds({0.1, 0.1}), 1), IsEmpty());
  EXPECT_THAT(SplitBatch({}, 1), IsEmpty());
}

// Whatever the speeds: the whole batch, one sequence at least and `most` at most for each, and
// moving a sequence from the rank that is done last to any other that may have it is no gain.
TEST(SplitBatch, NoSequenceIsBetterElsewhere) {
  Philox random(11);
  for (int round = 0; round < 500; ++round) {
    std::vector<RankSpeed> ranks(1 + random.Next64() % 9);
    for (RankSpeed& r : ranks) {
      r.seconds_per_sequence = 1e-3 * static_cast<double>(1 + random.Next64() % 1000);
      if (random.Next64() % 3 == 0) r.most = 1 + static_cast<int64_t>(random.Next64() % 20);
    }
    const int64_t batch =
        static_cast<int64_t>(ranks.size()) + static_cast<int64_t>(random.Next64() % 64);
    const std::vector<int64_t> split = SplitBatch(ranks, batch);
    if (split.empty()) {
      int64_t most = 0;
      for (const RankSpeed& r : ranks) most += std::min(r.most, batch);
      EXPECT_LT(most, batch);
      continue;
    }
    EXPECT_EQ(std::accumulate(split.begin(), split.end(), int64_t{0}), batch);
    double slowest = 0;  // of those that could give one away
    for (size_t r = 0; r < ranks.size(); ++r) {
      if (split[r] > 1)
        slowest = std::max(slowest, ranks[r].seconds_per_sequence * static_cast<double>(split[r]));
    }
    for (size_t r = 0; r < ranks.size(); ++r) {
      EXPECT_GE(split[r], 1);
      EXPECT_LE(split[r], ranks[r].most);
      if (split[r] == ranks[r].most) continue;
      EXPECT_GE(ranks[r].seconds_per_sequence * static_cast<double>(split[r] + 1),
                slowest * (1 - 1e-12))
          << "round " << round << ", rank " << r;
    }
  }
}

TEST(DecideSplit, ChangesOnlyWhenThatIsWorthIt) {
  const std::vector<int64_t> equal = {8, 8};
  EXPECT_THAT(DecideSplit(Speeds({0.1, 0.2}), 16, equal), ElementsAre(11, 5));
  EXPECT_EQ(DecideSplit(Speeds({0.1, 0.11}), 16, equal), equal) << "noise";
  EXPECT_EQ(DecideSplit(Speeds({0.1, 0}), 16, equal), equal) << "unknown";
  // Figures that move by a twentieth move no split.
  Philox random(3);
  const std::vector<int64_t> split = {11, 5};
  for (int round = 0; round < 100; ++round) {
    const auto around = [&](double s) {
      return s * (0.95 + 0.1 * static_cast<double>(random.Next64() % 1000) / 1000);
    };
    EXPECT_EQ(DecideSplit(Speeds({around(0.1), around(0.2)}), 16, split), split) << round;
  }
  EXPECT_THAT(DecideSplit(Speeds({0.1, 0.1}), 16, split), ElementsAre(8, 8)) << "as fast again";
}

TEST(GuessSpeeds, OfWhomNobodyMeasuredByTheirKind) {
  const auto guess = [](const std::vector<std::string>& devices, const std::vector<double>& known) {
    std::vector<RankSpeed> ranks = Speeds(known);
    GuessSpeeds(devices, &ranks);
    EXPECT_TRUE(AllMeasured(ranks));
    std::vector<double> out;
    for (const RankSpeed& r : ranks) out.push_back(r.seconds_per_sequence);
    return out;
  };
  const std::vector<std::string> devices = {"cpu x1", "cuda:0 A", "cpu x2", "cuda:1 B"};
  EXPECT_THAT(guess(devices, {0, 0, 0, 0}), ElementsAre(16, 1, 16, 1));
  EXPECT_THAT(guess(devices, {0.8, 0, 0, 0}), ElementsAre(0.8, 0.05, 0.8, 0.05));
  EXPECT_THAT(guess(devices, {0, 0.1, 0, 0.3}), ElementsAre(3.2, 0.1, 3.2, 0.3));
  EXPECT_THAT(guess(devices, {0.5, 0.1, 0, 0}), ElementsAre(0.5, 0.1, 0.5, 0.1));
  EXPECT_FALSE(AllMeasured(Speeds({0.1, 0})));
}

TEST(SmoothedSeconds, HalfWayAsRatios) {
  EXPECT_EQ(SmoothedSeconds(0, 0.2), 0.2);
  EXPECT_EQ(SmoothedSeconds(0.2, 0), 0.2);
  EXPECT_EQ(SmoothedSeconds(0, 0), 0);
  EXPECT_DOUBLE_EQ(SmoothedSeconds(0.1, 0.4), 0.2);
}

// A worker that computes for 20 of every 140 ms, and waits while it is stopped if it is done
// before: what it measures depends on what it is given. The split comes to rest all the same.
TEST(DecideSplit, ComesToRestWhereSpeedsDependOnTheShare) {
  const auto seconds = [](int64_t sequences) {
    const double work = 3e-3 * static_cast<double>(sequences);
    const double stops = std::max(0.0, work / 0.02 - 0.7);
    return (work + 0.12 * stops) / static_cast<double>(sequences);
  };
  std::vector<int64_t> split = {8, 8};
  double slow = 0;
  int changes_late = 0;
  for (int plan = 0; plan < 30; ++plan) {
    slow = SmoothedSeconds(slow, seconds(split[1]));
    const std::vector<int64_t> next = DecideSplit(Speeds({6e-3, slow}), 16, split);
    changes_late += plan >= 15 && next != split;
    split = next;
  }
  EXPECT_LE(changes_late, 0);
  EXPECT_GT(split[0], 8);
}

TEST(SplitWords, NamesWhoHasHowMuch) {
  EXPECT_EQ(SplitWords({"a", "b"}, {11, 5}), "a 11, b 5 of 16 sequences");
  EXPECT_EQ(SplitWords({"a", "b", "c", "d", "e", "f", "g"}, {1, 1, 1, 1, 1, 1, 2}),
            "a 1, b 1, c 1, d 1, e 1, f 1, 1 other worker the rest of 8 sequences");
}

}  // namespace
}  // namespace tritter
