#include "coordinator/decide/fair_share.h"

#include <gmock/gmock.h>

#include "common/random.h"

namespace tritter {
namespace {

using testing::ElementsAre;

std::vector<int> Order(const std::vector<QueuedRun>& runs, const ProjectShares& shares = {}) {
  ProjectQueue queue(runs, shares);
  std::vector<int> out;
  while (!queue.empty()) {
    out.push_back(queue.Next());
    queue.Take(out.back(), 1);
  }
  return out;
}

TEST(ProjectQueue, PriorityThenAgeThenIdWithinAProject) {
  EXPECT_THAT(Order({{"d", "p", 0, 5}, {"c", "p", 0, 3}, {"b", "p", 1, 9}, {"a", "p", 0, 5}}),
              ElementsAre(2, 1, 3, 0));
}

TEST(ProjectQueue, TheProjectOfTheLeastLoadIsServedFirst) {
  const std::vector<QueuedRun> runs = {
      {"a", "p", 0, 1}, {"b", "p", 0, 2}, {"c", "q", 0, 3}, {"d", "q", 0, 4}};
  struct Case {
    ProjectShares shares;
    std::vector<int> want;
  };
  const Case cases[] = {
      {{}, {0, 2, 1, 3}},
      {{{}, {{"p", 2}}}, {2, 3, 0, 1}},
      {{{{"p", 2.0}}, {}}, {0, 2, 1, 3}},          // 0:0, 0.5:0, 0.5:1, 1:1
      {{{{"p", 4.0}}, {{"q", 1}}}, {0, 1, 2, 3}},  // 0:1, 0.25:1
      {{{{"q", 0.5}}, {{"p", 1}}}, {2, 0, 1, 3}},  // 1:0, 1:2, 2:2: the older
  };
  for (const Case& c : cases) EXPECT_EQ(Order(runs, c.shares), c.want);
}

TEST(ProjectQueue, PriorityGoesBeforeShares) {
  EXPECT_THAT(Order({{"a", "p", 0, 1}, {"b", "q", 1, 2}}, {{}, {{"q", 9}}}), ElementsAre(1, 0));
}

TEST(ProjectQueue, WhoseEpochWasLostGoesBeforeThoseThatWaitAtItsPriority) {
  struct Case {
    std::vector<QueuedRun> runs;
    ProjectShares shares;
    std::vector<int> want;
  };
  const Case cases[] = {
      {{{"old", "p", 0, 1}, {"young", "p", 0, 2, true}}, {}, {1, 0}},
      {{{"urgent", "p", 1, 3}, {"young", "p", 0, 2, true}}, {}, {0, 1}},
      {{{"a", "q", 0, 1}, {"b", "p", 0, 2, true}}, {{}, {{"p", 9}}}, {1, 0}},
      {{{"a", "p", 0, 1, true}, {"b", "p", 0, 2, true}, {"c", "p", 0, 0}}, {}, {0, 1, 2}},
      {{{"a", "p", 0, 1, true}, {"b", "q", 0, 2, true}}, {{}, {{"p", 1}}}, {1, 0}},
  };
  for (const Case& c : cases) EXPECT_EQ(Order(c.runs, c.shares), c.want);
}

TEST(ProjectQueue, WhoTakesNothingKeepsTheTurnOfItsProject) {
  const std::vector<QueuedRun> runs = {{"a", "p", 0, 1}, {"b", "p", 0, 2}, {"c", "q", 0, 3}};
  ProjectQueue queue(runs, {});
  EXPECT_EQ(queue.Next(), 0);
  EXPECT_EQ(queue.Next(), 1) << "the first could not begin";
}

// Whatever comes: each run once, a higher priority first, and between projects that both have runs
// left the workers differ by no more than one, if the weights are equal.
TEST(ProjectQueue, SharesStayEvenWhileBothHaveRuns) {
  Philox random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<QueuedRun> runs;
    const int n = 1 + static_cast<int>(random.Next64() % 20);
    std::map<std::string, int> left;
    for (int i = 0; i < n; ++i) {
      const std::string project(1, static_cast<char>('a' + random.Next64() % 3));
      runs.push_back({std::to_string(i), project, 0, static_cast<int64_t>(random.Next64() % 5)});
      ++left[project];
    }
    std::map<std::string, int> got;
    std::set<int> seen;
    for (const int run : Order(runs)) {
      EXPECT_TRUE(seen.insert(run).second);
      for (const auto& [project, more] : left) {
        if (more > 0) EXPECT_LE(got[runs[run].project], got[project]) << "round " << round;
      }
      ++got[runs[run].project];
      --left[runs[run].project];
    }
    EXPECT_EQ(seen.size(), runs.size());
  }
}

TEST(AheadByShare, SaysWhoUsesHowMuch) {
  const QueuedRun mine{"a", "p", 0, 1}, other{"b", "q", 0, 2};
  const ProjectShares shares{{{"q", 3.0}}, {{"p", 3}, {"q", 1}}};
  EXPECT_EQ(
      AheadByShare(mine, other, "speech", shares, {"p", "q"}, 6),
      "project p uses 3 of 6 workers, its share is 1.5; speech of project q, which uses 1, is "
      "ahead");
  EXPECT_EQ(AheadByShare(other, mine, "text", shares, {"p", "q"}, 6), "");
  EXPECT_EQ(AheadByShare({"a", "q", 0, 1}, other, "speech", shares, {"p", "q"}, 6), "");
  EXPECT_EQ(AheadByShare(mine, {"b", "q", 0, 2, true}, "speech", shares, {"p", "q"}, 6), "")
      << "it is ahead whatever its project uses";
  EXPECT_EQ(AheadByShare({"a", "p", 1, 1}, other, "speech", shares, {"p", "q"}, 6), "");
}

}  // namespace
}  // namespace tritter
