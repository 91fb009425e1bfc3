#include "coordinator/decide/held.h"

#include <gmock/gmock.h>

namespace tritter {
namespace {

using testing::ElementsAre;

HeldInputs Inputs() {
  HeldInputs in;
  in.newest_epoch = 4;
  in.committed_step = 40;
  in.total_steps = 100;
  return in;
}

TEST(ChooseHeld, TheHighestStepOfTheNewestEpochAndAllWhoHoldIt) {
  const auto c = ChooseHeld({{"c", 4, 47}, {"b", 4, 48}, {"a", 4, 48}}, Inputs());
  ASSERT_TRUE(c.has_value());
  EXPECT_EQ(c->step, 48);
  EXPECT_EQ(c->epoch, 4u);
  EXPECT_THAT(c->holders, ElementsAre("a", "b"));
}

TEST(ChooseHeld, NothingForAGroupThatSpreadsItsState) {
  HeldInputs in = Inputs();
  ASSERT_TRUE(ChooseHeld({{"a", 4, 48}}, in).has_value());
  in.mixed = true;
  EXPECT_FALSE(ChooseHeld({{"a", 4, 48}}, in).has_value());
}

TEST(MayLeaveInMemory, WhereTheStateIsWholeAndTheNextGroupCanTakeIt) {
  RunSpec plain, outer, sharded, any, any_alone;
  outer.sync = "outer";
  sharded.shard_optimizer = true;
  any.device = any_alone.device = "any";
  any.max_workers = 2;
  for (const bool mixed : {false, true}) {
    EXPECT_EQ(HasWholeState(plain, mixed), !mixed);
    EXPECT_EQ(MayLeaveInMemory(plain, mixed), !mixed);
    EXPECT_EQ(HasWholeState(any, mixed), !mixed);
    EXPECT_FALSE(MayLeaveInMemory(any, mixed)) << "the next may be of both kinds";
    EXPECT_FALSE(HasWholeState(outer, mixed));
    EXPECT_FALSE(HasWholeState(sharded, mixed));
  }
  EXPECT_TRUE(MayLeaveInMemory(any_alone, false)) << "one worker is of one kind";
}

TEST(ChooseHeld, NothingThatACheckpointHasToo) {
  EXPECT_FALSE(ChooseHeld({{"a", 4, 40}}, Inputs()).has_value());
  EXPECT_TRUE(ChooseHeld({{"a", 4, 41}}, Inputs()).has_value());
  EXPECT_FALSE(ChooseHeld({}, Inputs()).has_value());
}

// An epoch of another size rounds differently: its states are of another course.
TEST(ChooseHeld, NothingOfAnEpochWhoseWorkWasGivenUp) {
  EXPECT_FALSE(ChooseHeld({{"a", 3, 60}}, Inputs()).has_value());
  EXPECT_FALSE(ChooseHeld({{"a", 5, 60}}, Inputs()).has_value()) << "there is no epoch 5";
  const auto c = ChooseHeld({{"a", 3, 60}, {"b", 4, 50}}, Inputs());
  ASSERT_TRUE(c.has_value());
  EXPECT_THAT(c->holders, ElementsAre("b"));
}

TEST(ChooseHeld, WhatTheNewestEpochBeganWithWhereItMadeNoStep) {
  HeldInputs in = Inputs();
  in.origin_epoch = 3;
  in.origin_step = 60;
  const auto c = ChooseHeld({{"a", 3, 60}, {"b", 3, 59}}, in);
  ASSERT_TRUE(c.has_value());
  EXPECT_EQ(c->epoch, 3u);
  EXPECT_THAT(c->holders, ElementsAre("a"));
  EXPECT_THAT(ChooseHeld({{"a", 3, 60}, {"b", 4, 60}}, in)->holders, ElementsAre("b"));
  EXPECT_FALSE(ChooseHeld({{"a", 3, 61}}, in).has_value());
  EXPECT_FALSE(ChooseHeld({{"a", 2, 60}}, in).has_value());
  in.oldest_origin = 2;
  EXPECT_THAT(ChooseHeld({{"a", 2, 60}, {"b", 1, 60}, {"c", 2, 61}}, in)->holders,
              ElementsAre("a"));
}

TEST(ChooseHeld, NotAgainAfterFailuresWithoutProgress) {
  HeldInputs in = Inputs();
  in.failures = 1;
  EXPECT_TRUE(ChooseHeld({{"a", 4, 48}}, in).has_value());
  in.failures = 2;
  EXPECT_FALSE(ChooseHeld({{"a", 4, 48}}, in).has_value());
}

TEST(ChooseHeld, TheLastStepToo) {
  EXPECT_TRUE(ChooseHeld({{"a", 4, 100}}, Inputs()).has_value());
  EXPECT_FALSE(ChooseHeld({{"a", 4, 101}}, Inputs()).has_value());
}

TEST(YetToTell, WhoLivesAndHasNotSaidThatItLeft) {
  const std::vector<FormerMember> members = {{"dead", true, false},
                                             {"leaving", false, false},
                                             {"told", false, true},
                                             {"gone after it told", true, true}};
  EXPECT_THAT(YetToTell(members, Inputs(), /*whole=*/true), ElementsAre("leaving"));
  EXPECT_THAT(YetToTell(members, Inputs(), /*whole=*/false), ElementsAre())
      << "nobody has a state from which the run could go on";
  HeldInputs in = Inputs();
  in.failures = 2;
  EXPECT_THAT(YetToTell(members, in, true), ElementsAre()) << "nor would it be gone on from";
}

TEST(WhyRepeated, SaysWhatIsKnown) {
  const auto says = [](const HeldInputs& in, bool whole, const std::vector<std::string>& silent) {
    return WhyRepeated(in, whole, silent);
  };
  HeldInputs in = Inputs();
  EXPECT_EQ(says(in, true, {}),
            "no checkpoint holds them, and no worker that can go on has told of a later state in "
            "its memory");
  EXPECT_EQ(says(in, true, {"a"}),
            "no checkpoint holds them, and a did not tell in time what it holds in memory");
  EXPECT_EQ(says(in, true, {"a", "b"}),
            "no checkpoint holds them, and a and b did not tell in time what they hold in memory");
  EXPECT_EQ(says(in, false, {}),
            "no checkpoint holds them, and only there the state of such a group is whole");
  in.failures = 2;
  EXPECT_EQ(says(in, true, {}),
            "no checkpoint holds them, and after 2 epochs without progress a state in memory is "
            "not gone on from");
}

}  // namespace
}  // namespace tritter
