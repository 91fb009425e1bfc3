#include "coordinator/decide/training_words.h"

#include "common/testing/status_matchers.h"

namespace tritter {
namespace {

TEST(TrainingWords, SayWhatARunDoesNow) {
  const TrainingView at{.step = 412,
                        .total_steps = 1200,
                        .epoch = 2,
                        .members = {"w0", "w1"},
                        .next_checkpoint = 600};
  EXPECT_EQ(TrainingWords(at),
            "step 412 of 1200, epoch 2 of w0 and w1, next checkpoint at step 600");
  TrainingView view = at;
  view.writing_checkpoint = 400;
  EXPECT_EQ(TrainingWords(view),
            "step 412 of 1200, epoch 2 of w0 and w1, the checkpoint of step 400 is being written");
  view.stopping = "worker w1 is leaving";
  EXPECT_EQ(TrainingWords(view),
            "step 412 of 1200, epoch 2 of w0 and w1; it stops: worker w1 is leaving");
  view.trouble = "checkpoint of step 400 cannot be committed yet: no space left";
  EXPECT_EQ(TrainingWords(view),
            "step 412 of 1200, epoch 2 of w0 and w1; checkpoint of step 400 cannot be committed "
            "yet: no space left");
  view = at;
  view.next_checkpoint = 0;
  view.members = {"a", "b", "c", "d", "e", "f", "g"};
  EXPECT_EQ(TrainingWords(view), "step 412 of 1200, epoch 2 of a, b, c, d and 3 more");
}

}  // namespace
}  // namespace tritter
