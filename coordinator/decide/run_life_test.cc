#include "coordinator/decide/run_life.h"

#include <gmock/gmock.h>

namespace tritter {
namespace {

using testing::HasSubstr;

RunRecord MakeRun(Intent intent = Intent::kRun) {
  RunRecord r;
  r.name = "run";
  r.state = v1::RUN_STATE_RUNNING;
  r.intent = intent;
  r.total_steps = 1000;
  r.step = 240;
  return r;
}
EpochEnd Loss() { return {.cause = "worker w-1 lost: its process died or was cut off"}; }

TEST(DecideAfterEpoch, GoesOnAfterALossAtOnce) {
  const RunVerdict v = DecideAfterEpoch(MakeRun(), Loss(), 200, true);
  EXPECT_EQ(v.state, v1::RUN_STATE_RUNNING);
  EXPECT_EQ(v.reason, "worker w-1 lost: its process died or was cut off");
  EXPECT_EQ(v.failures, 1);
  EXPECT_EQ(v.retry_after, absl::ZeroDuration());
}

TEST(DecideAfterEpoch, ExportsOrCompletesWhenTheLastStepIsCommittedHoweverTheEpochEnded) {
  for (const EpochEnd& end : {EpochEnd{.clean = true}, Loss()}) {
    EXPECT_EQ(DecideAfterEpoch(MakeRun(), end, 1000, true).state, v1::RUN_STATE_EXPORTING);
    EXPECT_EQ(DecideAfterEpoch(MakeRun(), end, 1000, false).state, v1::RUN_STATE_COMPLETED);
    EXPECT_EQ(DecideAfterEpoch(MakeRun(Intent::kCancel), end, 1000, false).state,
              v1::RUN_STATE_CANCELLED);  // asked for in its last plan
  }
}

TEST(DecideAfterEpoch, FailsAtOnceWhenRetryingCannotHelp) {
  const RunVerdict v = DecideAfterEpoch(
      MakeRun(), {.permanent = true, .cause = "worker w-0: shard x is truncated"}, 200, true);
  EXPECT_EQ(v.state, v1::RUN_STATE_FAILED);
  EXPECT_EQ(v.reason, "worker w-0: shard x is truncated");
}

TEST(DecideAfterEpoch, PausesAndCancels) {
  RunVerdict v = DecideAfterEpoch(MakeRun(Intent::kPause), {.clean = true}, 241, true);
  EXPECT_EQ(v.state, v1::RUN_STATE_PAUSED);
  EXPECT_EQ(v.reason, "paused at step 241");
  v = DecideAfterEpoch(MakeRun(Intent::kCancel), {.clean = true}, 241, true);
  EXPECT_EQ(v.state, v1::RUN_STATE_CANCELLED);
  EXPECT_EQ(v.reason, "cancelled at step 241");
}

TEST(DecideAfterEpoch, SaysWhereItWasEndedAndWhatIsLost) {
  struct Case {
    Intent intent;
    EpochEnd end;
    int64_t step, committed, total_steps;
    const char* reason;
  };
  const EpochEnd waits{.clean = true}, waits_killed{.clean = true, .killed = true},
      killed{.killed = true, .cause = "the run was killed"};
  const Case cases[] = {
      {Intent::kCancel, waits_killed, 200, 200, 1200, "killed at step 200"},
      {Intent::kCancel, waits_killed, 215, 200, 1200,
       "killed at step 200 (of its newest checkpoint); the 15 steps after it are lost"},
      {Intent::kCancel, killed, 215, 200, 1200,
       "killed at step 200 (of its newest checkpoint); the 15 steps after it are lost"},
      {Intent::kCancel, killed, 15, 0, 1200,
       "killed before its first checkpoint; its 15 steps are lost"},
      {Intent::kCancel, killed, 201, 200, 1200,
       "killed at step 200 (of its newest checkpoint); the 1 step after it is lost"},
      {Intent::kCancel, waits_killed, 0, 0, 1200, "killed before its first step"},
      {Intent::kCancel, waits, 0, 0, 1200, "cancelled before its first step"},
      {Intent::kCancel, waits, 0, 0, 0, "cancelled before it began"},  // a job
      {Intent::kPause, waits, 0, 0, 1200, "paused before its first step"},
      {Intent::kPause, waits, 215, 200, 1200, "paused at step 200"},  // memory may have the rest
      {Intent::kPause, {.clean = true, .waited = true}, 200, 200, 1200, "paused at step 200"},
      {Intent::kPause,
       {.clean = true, .waited = true},
       215,
       200,
       1200,
       "paused at step 200 (of its newest checkpoint); the 15 steps after it are lost"},
      {Intent::kPause,
       {.clean = true, .waited = true},
       15,
       0,
       1200,
       "paused before its first checkpoint; its 15 steps are lost"},
      {Intent::kPause,
       {.clean = true, .waited = true, .holders = {"w0", "w1"}},
       215,
       200,
       1200,
       "paused at step 200 (of its newest checkpoint); the 15 steps after it are in the memory of "
       "w0 and w1 alone, until other work comes there"},
      {Intent::kCancel,
       {.clean = true, .waited = true, .holders = {"w0"}},
       215,
       200,
       1200,
       "cancelled at step 200 (of its newest checkpoint); the 15 steps after it are lost"},
  };
  for (const Case& c : cases) {
    RunRecord run = MakeRun(c.intent);
    run.step = c.step;
    run.total_steps = c.total_steps;
    EXPECT_EQ(DecideAfterEpoch(run, c.end, c.committed, true).reason, c.reason);
  }
}

TEST(DecideAfterEpoch, SaysWhatIsLostWhenAPauseMeetsALoss) {
  const RunVerdict v = DecideAfterEpoch(MakeRun(Intent::kPause), Loss(), 200, true);
  EXPECT_EQ(v.state, v1::RUN_STATE_PAUSED);
  EXPECT_EQ(v.reason,
            "paused at step 200 (of its newest checkpoint); the 40 steps after it are lost: worker "
            "w-1 lost: its process died or was cut off");
}

TEST(DecideAfterEpoch, SpendsTheBudgetOnlyOnEpochsWithoutProgress) {
  RunRecord run = MakeRun();
  std::vector<absl::Duration> delays;
  for (int i = 0; i < 4; ++i) {
    const RunVerdict v = DecideAfterEpoch(run, Loss(), 200, true);
    EXPECT_EQ(v.state, v1::RUN_STATE_RUNNING) << i;
    delays.push_back(v.retry_after);
    run.failures = v.failures;
  }
  EXPECT_THAT(delays, testing::ElementsAre(absl::ZeroDuration(), absl::Seconds(1), absl::Seconds(2),
                                           absl::Seconds(4)));
  RunVerdict v = DecideAfterEpoch(run, Loss(), 200, true);
  EXPECT_EQ(v.state, v1::RUN_STATE_FAILED);
  EXPECT_EQ(v.reason,
            "gave up after 5 epochs without progress; the last: worker w-1 lost: its process died "
            "or was cut off");
  EpochEnd moved = Loss();
  moved.progress = true;
  v = DecideAfterEpoch(run, moved, 400, true);
  EXPECT_EQ(v.state, v1::RUN_STATE_RUNNING);
  EXPECT_EQ(v.failures, 0) << "that epoch is none without progress";
  EXPECT_EQ(v.retry_after, absl::ZeroDuration());
}

TEST(DecideAfterEpoch, ABudgetOfOneEndsWithTheFirstEpochWithoutProgressNotBefore) {
  const RetryOptions one{.budget = 1};
  EpochEnd moved = Loss();
  moved.progress = true;
  EXPECT_EQ(DecideAfterEpoch(MakeRun(), moved, 200, true, one).state, v1::RUN_STATE_RUNNING);
  const RunVerdict v = DecideAfterEpoch(MakeRun(), Loss(), 200, true, one);
  EXPECT_EQ(v.state, v1::RUN_STATE_FAILED);
  EXPECT_THAT(v.reason, HasSubstr("gave up after 1 epoch without progress; the last: worker w-1"));
}

TEST(StateName, IsTheWordInLowerCase) {
  EXPECT_EQ(StateName(v1::RUN_STATE_CANCELLING), "cancelling");
  EXPECT_THAT(StateName(static_cast<v1::RunState>(77)), HasSubstr("77"));
}

}  // namespace
}  // namespace tritter
