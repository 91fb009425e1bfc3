#include "coordinator/decide/checkpoints.h"

#include <gmock/gmock.h>

#include <limits>

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(DecideRetention, KeepsTheNewestEveryMthAndTheBestAndNeverDropsTheNewestVerified) {
  struct Case {
    const char* name;
    std::vector<RetainedCheckpoint> checkpoints;
    RetentionRule rule;
    int64_t newest_verified;
    std::vector<int64_t> drop;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Case cases[] = {
      {"none", {}, {3, 0, true}, 0, {}},
      {"fewer than are kept", {{200}, {400}}, {3, 0, true}, 400, {}},
      {"the newest two", {{200}, {400}, {600}, {800}}, {2, 0, true}, 800, {200, 400}},
      {"at least one", {{200}, {400}}, {0, 0, false}, 0, {200}},
      {"the newest verified", {{200}, {400}, {600}, {800}}, {1, 0, false}, 400, {200, 600}},
      {"every multiple", {{200}, {400}, {600}, {800}, {900}}, {1, 400, false}, 900, {200, 600}},
      {"the first at or after a multiple",
       {{300}, {600}, {900}, {1200}, {1500}, {1600}},
       {1, 500, false},
       1600,
       {300, 900}},
      {"one that holds two multiples",
       {{100}, {900}, {950}, {999}},
       {1, 400, false},
       999,
       {100, 950}},
      {"the best",
       {{200, 2.5}, {400, 1.5}, {600, 1.75}, {800, 1.6}},
       {1, 0, true},
       800,
       {200, 600}},
      {"the best is not asked for", {{200, 1.5}, {400, 2.5}}, {1, 0, false}, 400, {200}},
      {"the newest of equally good ones",
       {{200, 1.5}, {400, 1.5}, {600, 2.0}},
       {1, 0, true},
       600,
       {200}},
      {"the best is among the newest", {{200, 2.5}, {400, 1.5}}, {1, 0, true}, 400, {200}},
      {"one that was not evaluated is not the best",
       {{200}, {400, 2.0}, {600}},
       {1, 0, true},
       600,
       {200}},
      {"no number is not the best", {{200, nan}, {400, 2.0}, {600, 3.0}}, {1, 0, true}, 600, {200}},
      {"the newest that can be extended",
       {{200}, {400}, {600}, {800}, {900}, {1000}},
       {2, 0, true, 700},
       1000,
       {200, 400, 800}},
      {"all rules",
       {{100, 1.0}, {200, 3.0}, {300, 3.0}, {400, 3.0}, {500, 3.0}, {600, 3.0}},
       {2, 300, true},
       600,
       {200, 400}},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(DecideRetention(c.checkpoints, c.rule, c.newest_verified), c.drop) << c.name;
  }
}

TEST(DecideResume, TakesTheNewestGoodOneAndSaysWhatItSkipped) {
  const ResumeDecision d =
      DecideResume({{600, absl::DataLossError("share-0: hash differs")}, {400, absl::OkStatus()}});
  EXPECT_EQ(d.step, 400);
  EXPECT_THAT(d.skipped, ElementsAre(600));
  EXPECT_EQ(d.reason, "from the checkpoint of step 400 (skipped step 600: share-0: hash differs)");
}

TEST(DecideResume, BeginsAtTheBeginningWhenThereIsNone) {
  const ResumeDecision d = DecideResume({});
  EXPECT_EQ(d.reason, "from the beginning");
  EXPECT_FALSE(d.wait);
}

TEST(DecideResume, WaitsWhenAllAreDamagedAndForgetsNone) {
  const ResumeDecision d = DecideResume({{200, absl::NotFoundError("manifest.json is missing")}});
  EXPECT_TRUE(d.wait);
  EXPECT_THAT(d.skipped, IsEmpty());
  EXPECT_EQ(
      d.reason,
      "no checkpoint can be used (step 200: manifest.json is missing); put one back; to train "
      "from the beginning cancel the run and submit it again (tritterctl local: with another "
      "--dir)");
}

TEST(DecideResume, WaitsForAnErrorThatSaysNothingAboutTheCheckpoint) {
  const ResumeDecision d = DecideResume({{600, absl::DataLossError("share-0: hash differs")},
                                         {400, absl::InternalError("input/output error")}});
  EXPECT_TRUE(d.wait);
  EXPECT_THAT(d.skipped, IsEmpty());
  EXPECT_EQ(
      d.reason,
      "the checkpoint of step 400 cannot be read now: input/output error; make it readable; to "
      "train from the beginning cancel the run and submit it again (tritterctl local: with "
      "another --dir)");
}

// A run that took weights of another one begins with a checkpoint of step 0.
TEST(DecideResume, TheCheckpointOfStepZeroIsOneLikeAnyOther) {
  ResumeDecision d = DecideResume({{0, absl::OkStatus()}});
  EXPECT_FALSE(d.wait);
  EXPECT_EQ(d.step, 0);
  EXPECT_EQ(d.reason, "from the checkpoint of step 0");
  d = DecideResume({{20, absl::DataLossError("damaged")}, {0, absl::OkStatus()}});
  EXPECT_FALSE(d.wait);
  EXPECT_EQ(d.step, 0);
  EXPECT_THAT(d.skipped, ElementsAre(20));
  d = DecideResume({{0, absl::DataLossError("damaged")}});
  EXPECT_TRUE(d.wait) << "other weights than those that were asked for are none";
  EXPECT_EQ(d.cause, WaitCause::kCheckpointsDamaged);
}

TEST(DecideRetention, TheCheckpointOfStepZeroGoesLikeAnyOther) {
  EXPECT_THAT(DecideRetention({{0}, {20}, {40}}, {.keep = 2}, 40), ElementsAre(0));
  EXPECT_THAT(DecideRetention({{0}, {20}, {40}}, {.keep = 2, .extensible = 10}, 40), IsEmpty());
  EXPECT_THAT(DecideRetention({{0, 1.0}, {20, 2.0}, {40, 3.0}}, {.keep = 2}, 40), IsEmpty())
      << "the best";
}

}  // namespace
}  // namespace tritter
