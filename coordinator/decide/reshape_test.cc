#include "coordinator/decide/reshape.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"

namespace tritter {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Key;
using testing::UnorderedElementsAre;

// Workers w0 … ; those of a run are busy.
class ReshapeTest : public testing::Test {
 protected:
  ReshapeTest() {
    for (int i = 0; i < 8; ++i) {
      WorkerView w;
      w.name = absl::StrCat("w", i);
      w.device = "cpu x1";
      w.since = absl::Minutes(1);
      workers_.push_back(w);
    }
  }
  TrainingRun* Train(const std::string& id, int64_t priority, int64_t min, int64_t max,
                     std::vector<int> members) {
    TrainingRun run;
    run.run_id = run.name = id;
    run.priority = priority;
    run.created_ms = static_cast<int64_t>(training_.size());
    run.needs = {min, max};
    run.members = std::move(members);
    run.age = absl::Minutes(1);
    run.left = absl::Hours(1);
    for (const int m : run.members) {
      workers_[m].standing = Standing::kBusy;
      workers_[m].run_name = id;
    }
    training_.push_back(run);
    return &training_.back();
  }
  void Only(int workers) { workers_.resize(workers); }
  void Wait(const std::string& id, int64_t priority, int64_t min) {
    waiting_.push_back({id, id, priority, 100, {min, min}, {}});
  }
  ReshapeDecision Decide() {
    return DecideReshapes(waiting_, Schedule(waiting_, workers_), training_, workers_, {}, shares_);
  }

  std::vector<WorkerView> workers_;
  std::vector<TrainingRun> training_;
  std::vector<WaitingRun> waiting_;
  ProjectShares shares_;
};

TEST_F(ReshapeTest, GroupsGrowByPriorityThenByTheSharesOfTheirProjects) {
  Only(6);
  Train("a", 0, 1, 8, {0, 1})->project = "much";
  Train("b", 0, 1, 8, {2})->project = "little";
  shares_.used = {{"much", 2}, {"little", 1}};
  // w3 to the one that uses less, then to the older of the two, then to the one that uses less.
  EXPECT_EQ(Decide().reshapes.at("b").reason, "takes in w3 and w5");
  EXPECT_EQ(Decide().reshapes.at("a").reason, "takes in w4");
  shares_.weights = {{"much", 5.0}};
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("a")));
  training_[1].priority = 1;
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("b")));
}

TEST_F(ReshapeTest, NobodyGrowsByWorkersThatARunWaitsForThatBeginsInAMoment) {
  Only(2);
  Train("a", 0, 1, 8, {0});
  Wait("b", 0, 1);
  waiting_.back().blocked = {WaitCause::kRetryDelay, "tries again in 3 s"};
  EXPECT_THAT(Decide().reshapes, IsEmpty());
  waiting_.back().blocked = {WaitCause::kAfterUnfinished, "waits for another run"};
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("a")));
}

TEST_F(ReshapeTest, AHigherPriorityTakesTheWorkersOfTheLowestAndYoungest) {
  Only(4);
  Train("old", 0, 1, 1, {0});
  Train("young", 0, 1, 1, {1});
  Train("high", 5, 1, 1, {2});
  Train("middle", 1, 1, 1, {3});
  Wait("urgent", 2, 1);
  const ReshapeDecision d = Decide();
  ASSERT_THAT(d.reshapes, UnorderedElementsAre(Key("young")));
  EXPECT_TRUE(d.reshapes.at("young").gives_all);
  EXPECT_EQ(d.reshapes.at("young").reason, "gives its 1 worker to urgent (urgent, priority 2)");
  EXPECT_EQ(d.helped, "urgent");
  EXPECT_EQ(d.wait.cause, WaitCause::kPreempting);
  EXPECT_EQ(
      d.wait.sentence,
      "needs 1 worker, gets them soon: young (young, priority 0) gives up w1 after a checkpoint");
}

TEST_F(ReshapeTest, AnEqualPriorityTakesOnlyWhatOthersCanDoWithout) {
  Only(4);
  Train("elastic", 0, 2, 4, {0, 1, 2, 3});
  Wait("second", 0, 2);
  ReshapeDecision d = Decide();
  ASSERT_THAT(d.reshapes, UnorderedElementsAre(Key("elastic")));
  EXPECT_FALSE(d.reshapes.at("elastic").gives_all) << "its state stays in memory";
  EXPECT_EQ(d.reshapes.at("elastic").reason,
            "shrinks from 4 workers, at least 2, to make room for second (second, priority 0)");
  waiting_.clear();
  Wait("second", 0, 3);
  d = Decide();
  EXPECT_THAT(d.reshapes, IsEmpty()) << "two of four are not enough";
  EXPECT_EQ(d.helped, "");
}

TEST_F(ReshapeTest, WhoIsNotPreemptibleGivesOnlyWhatItCanDoWithout) {
  Only(3);
  Train("elastic", 0, 1, 2, {0, 1})->preemptible = false;
  Train("small", 0, 1, 1, {2})->preemptible = false;
  Wait("urgent", 9, 1);
  ReshapeDecision d = Decide();
  ASSERT_THAT(d.reshapes, UnorderedElementsAre(Key("elastic")));
  EXPECT_FALSE(d.reshapes.at("elastic").gives_all);
  EXPECT_THAT(d.kept, IsEmpty());
  waiting_.clear();
  Wait("urgent", 9, 2);
  d = Decide();
  EXPECT_THAT(d.reshapes, IsEmpty());
  EXPECT_EQ(d.helped, "");
  EXPECT_EQ(d.kept.at("urgent"), "small (small, priority 0) is not preemptible");
  waiting_.clear();
  Wait("urgent", 9, 3);
  EXPECT_EQ(Decide().kept.at("urgent"),
            "small (small, priority 0) and elastic (elastic, priority 0) are not preemptible");
  waiting_.clear();
  Wait("huge", 9, 4);
  EXPECT_THAT(Decide().kept, IsEmpty()) << "they would not be enough";
}

TEST_F(ReshapeTest, ThePreemptibleOneOfTwoIsStopped) {
  Only(2);
  Train("kept", 0, 1, 1, {0})->preemptible = false;
  Train("given", 1, 1, 1, {1});
  Wait("urgent", 2, 1);
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("given")));
}

TEST_F(ReshapeTest, OfOnePriorityTheProjectThatUsesTheMostGivesFirst) {
  Only(3);
  Train("young", 0, 1, 1, {0});
  Train("old-a", 0, 1, 1, {1})->project = "much";
  Train("old-b", 0, 1, 1, {2})->project = "much";
  training_[0].created_ms = 99;
  Wait("urgent", 1, 1);
  ProjectShares shares;
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("young")));
  shares.used = {{"much", 2}, {"default", 1}};
  EXPECT_THAT(DecideReshapes(waiting_, Schedule(waiting_, workers_, {}, shares), training_,
                             workers_, {}, shares)
                  .reshapes,
              UnorderedElementsAre(Key("old-b")));
}

TEST_F(ReshapeTest, ALowerPriorityTakesNothing) {
  Only(4);
  Train("elastic", 1, 1, 4, {0, 1, 2, 3});
  Wait("low", 0, 1);
  EXPECT_THAT(Decide().reshapes, IsEmpty());
}

TEST_F(ReshapeTest, NobodyIsStoppedInVainAndNobodyMoreThanNeeded) {
  Only(4);
  Train("a", 0, 1, 1, {0});
  Train("b", 0, 2, 2, {1, 2});
  Train("c", 0, 1, 1, {3});
  Wait("urgent", 1, 2);
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("c"), Key("b")));
  waiting_.clear();
  Wait("huge", 1, 5);
  EXPECT_THAT(Decide().reshapes, IsEmpty());
}

TEST_F(ReshapeTest, ShrinkingIsTriedBeforeStopping) {
  Only(4);
  Train("elastic", 0, 1, 3, {0, 1, 2});
  Train("small", 0, 1, 1, {3});
  Wait("urgent", 1, 2);
  const ReshapeDecision d = Decide();
  ASSERT_THAT(d.reshapes, UnorderedElementsAre(Key("elastic")));
  EXPECT_FALSE(d.reshapes.at("elastic").gives_all);
}

TEST_F(ReshapeTest, WorkersThatComeFreeAnyhowAreNotTakenFromOthers) {
  Only(2);
  Train("paused", 0, 1, 1, {0})->ending = true;
  Train("other", 0, 1, 1, {1});
  Wait("urgent", 1, 1);
  EXPECT_THAT(Decide().reshapes, IsEmpty());
  training_[0].ending = false;
  workers_[0].standing = Standing::kLeaving;
  EXPECT_THAT(Decide().reshapes, IsEmpty());
}

TEST_F(ReshapeTest, WorkersThatDoNotSuitAreNotAskedFor) {
  Only(2);
  Train("other", 0, 1, 2, {0, 1});
  Wait("urgent", 1, 1);
  waiting_[0].needs.device = "cuda";
  EXPECT_THAT(Decide().reshapes, IsEmpty());
  waiting_[0].needs.device = "cpu";
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("other")));
}

TEST_F(ReshapeTest, GrowsByWorkersThatNobodyWaitsFor) {
  Only(5);
  Train("run", 0, 1, 4, {0, 1});
  const ReshapeDecision d = Decide();
  ASSERT_THAT(d.reshapes, UnorderedElementsAre(Key("run")));
  EXPECT_EQ(d.reshapes.at("run").reason, "takes in w2 and w3") << "up to its maximum";
  EXPECT_FALSE(d.reshapes.at("run").gives_all);
  Wait("next", 0, 1);  // placed in this tick on w2
  EXPECT_EQ(Decide().reshapes.at("run").reason, "takes in w3 and w4");
  waiting_[0].needs = {9, 9};  // in vain: these workers do not help it
  EXPECT_THAT(Decide().reshapes, IsEmpty()) << "but they may, with those that come";
}

TEST_F(ReshapeTest, DoesNotGrowForNothing) {
  Only(3);
  TrainingRun* run = Train("run", 0, 1, 4, {0, 1});
  ASSERT_THAT(Decide().reshapes, UnorderedElementsAre(Key("run")));
  const TrainingRun as_it_was = *run;
  run->left = absl::Seconds(30);
  EXPECT_THAT(Decide().reshapes, IsEmpty()) << "it is done by then";
  run->left = absl::ZeroDuration();
  EXPECT_THAT(Decide().reshapes, IsEmpty()) << "its speed is not known";
  *run = as_it_was;
  run->age = absl::Seconds(5);
  EXPECT_THAT(Decide().reshapes, IsEmpty()) << "formed just now";
  *run = as_it_was;
  run->ending = true;
  EXPECT_THAT(Decide().reshapes, IsEmpty());
  *run = as_it_was;
  run->needs.max_workers = 2;
  EXPECT_THAT(Decide().reshapes, IsEmpty());
  *run = as_it_was;
  workers_[2].since = absl::Seconds(3);
  EXPECT_THAT(Decide().reshapes, IsEmpty()) << "it came just now";
  workers_[2].since = absl::Minutes(1);
  workers_[2].device = "cuda:0";
  EXPECT_THAT(Decide().reshapes, IsEmpty()) << "of another kind";
  run->needs.device = "any";
  EXPECT_THAT(Decide().reshapes, UnorderedElementsAre(Key("run")));
}

}  // namespace
}  // namespace tritter
