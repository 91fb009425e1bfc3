#include "coordinator/decide/checkpoints.h"

#include <gmock/gmock.h>

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(DecideRetention, KeepsTheNewest) {
  EXPECT_THAT(DecideRetention({200, 400, 600, 800}, 2, 800), ElementsAre(200, 400));
  EXPECT_THAT(DecideRetention({200, 400}, 3, 400), IsEmpty());
  EXPECT_THAT(DecideRetention({}, 3, 0), IsEmpty());
}

TEST(DecideRetention, NeverDropsTheNewestVerifiedOne) {
  EXPECT_THAT(DecideRetention({200, 400, 600, 800}, 1, 400), ElementsAre(200, 600));
}

TEST(DecideRetention, KeepsAtLeastOne) {
  EXPECT_THAT(DecideRetention({200, 400}, 0, 0), ElementsAre(200));
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

}  // namespace
}  // namespace tritter
