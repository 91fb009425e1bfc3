#include "coordinator/decide/dependencies.h"

#include <gmock/gmock.h>

#include <vector>

namespace tritter {
namespace {

using testing::AllOf;
using testing::HasSubstr;

DependencyView Other(const std::string& name, v1::RunState state) {
  return {.run_id = "r-" + name,
          .name = name,
          .state = state,
          .reason = "gave up",
          .step = 20,
          .total_steps = 100};
}

TEST(DecideDependencies, NothingWaitsForWhatIsComplete) {
  EXPECT_EQ(DecideDependencies({}).cause, WaitCause::kNone);
  const Wait d = DecideDependencies({Other("a", v1::RUN_STATE_COMPLETED)});
  EXPECT_EQ(d.cause, WaitCause::kNone);
  EXPECT_EQ(d.sentence, "");
}

TEST(DecideDependencies, NamesWhatIsUnfinishedWithItsStep) {
  const Wait d = DecideDependencies(
      {Other("done", v1::RUN_STATE_COMPLETED), Other("a", v1::RUN_STATE_RUNNING)});
  EXPECT_EQ(d.cause, WaitCause::kAfterUnfinished);
  EXPECT_EQ(d.sentence, "waits for run a (r-a), which is running at step 20 of 100");
  EXPECT_EQ(
      DecideDependencies({Other("a", v1::RUN_STATE_RUNNING), Other("b", v1::RUN_STATE_PAUSED)})
          .sentence,
      "waits for 2 runs: a (r-a), which is running at step 20 of 100 and b (r-b), which is paused "
      "at step 20 of 100");
}

TEST(DecideDependencies, AJobHasNoSteps) {
  DependencyView job = Other("gguf", v1::RUN_STATE_EXPORTING);
  job.step = job.total_steps = 0;
  EXPECT_EQ(DecideDependencies({job}).sentence, "waits for run gguf (r-gguf), which is exporting");
}

TEST(DecideDependencies, ManyAreCounted) {
  std::vector<DependencyView> runs;
  for (const char* name : {"a", "b", "c", "d", "e", "f"})
    runs.push_back(Other(name, v1::RUN_STATE_QUEUED));
  EXPECT_THAT(DecideDependencies(runs).sentence,
              AllOf(HasSubstr("waits for 6 runs: a (r-a)"), HasSubstr("and 2 more")));
}

TEST(DecideDependencies, WhatCannotBecomeCompleteByItselfComesFirstAndSaysWhatToDo) {
  Wait d =
      DecideDependencies({Other("a", v1::RUN_STATE_RUNNING), Other("b", v1::RUN_STATE_FAILED)});
  EXPECT_EQ(d.cause, WaitCause::kAfterFailed);
  EXPECT_EQ(d.sentence,
            "waits for run b (r-b), which has failed: gave up; `tritterctl resume r-b` tries it "
            "again, `tritterctl cancel` gives this one up");
  d = DecideDependencies({Other("c", v1::RUN_STATE_CANCELLED)});
  EXPECT_EQ(d.cause, WaitCause::kAfterFailed);
  EXPECT_THAT(d.sentence, HasSubstr("c (r-c), which was cancelled at step 20 of 100 and will not"));
  EXPECT_THAT(d.sentence, HasSubstr("submit it with another `after`"));
  DependencyView worked_on = Other("c", v1::RUN_STATE_CANCELLED);
  worked_on.of = true;
  worked_on.total_steps = 0;  // a job too
  EXPECT_EQ(DecideDependencies({worked_on}).sentence,
            "waits for run c (r-c), which was cancelled and will not be complete; cancel this run "
            "and submit it with another `of`");
  d = DecideDependencies({{.run_id = "r9", .known = false, .of = true}});
  EXPECT_THAT(d.sentence, HasSubstr("submit it with another `of`"));
  d = DecideDependencies({{.run_id = "r9", .known = false}});
  EXPECT_EQ(d.cause, WaitCause::kAfterFailed);
  EXPECT_THAT(d.sentence, HasSubstr("run r9, which this coordinator does not know"));
}

}  // namespace
}  // namespace tritter
