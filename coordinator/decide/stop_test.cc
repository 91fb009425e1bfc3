#include "coordinator/decide/stop.h"

#include <gtest/gtest.h>

namespace tritter {
namespace {

struct Case {
  StopInputs in;
  std::string reason;
  bool on_disk;
};

TEST(DecideStop, SaysWhyAndWhetherMemoryWillDo) {
  const Reshape joins{"takes in w-2"}, gives{"gives its workers to urgent (priority 5)", true};
  const Case cases[] = {
      {{Intent::kRun, {}, 2, {}}, "", false},
      {{Intent::kPause, {"w-0"}, 2, joins}, "pause asked for", true},
      {{Intent::kCancel, {}, 2, {}}, "cancel asked for", true},
      // Who stays keeps the state.
      {{Intent::kRun, {"w-0"}, 2, {}},
       "worker w-0 leaves, as it was told to (SIGTERM or Ctrl-C)",
       false},
      {{Intent::kRun, {"w-0", "w-1"}, 2, {}},
       "workers w-0 and w-1 leave, as they were told to (SIGTERM or Ctrl-C)",
       true},
      {{Intent::kRun, {"w-0"}, 1, joins},
       "worker w-0 leaves, as it was told to (SIGTERM or Ctrl-C)",
       true},
      {{Intent::kRun, {}, 2, joins}, "takes in w-2", false},
      {{Intent::kRun, {}, 2, gives}, "gives its workers to urgent (priority 5)", true},
      {{Intent::kRun, {"w-0"}, 2, gives},
       "worker w-0 leaves, as it was told to (SIGTERM or Ctrl-C)",
       true},
  };
  for (const Case& c : cases) {
    const StopDecision d = DecideStop(c.in);
    EXPECT_EQ(d.reason, c.reason);
    EXPECT_EQ(d.on_disk, c.on_disk) << c.reason;
  }
}

TEST(StoppedWords, SaysWhereWhyAndWhatComesNext) {
  EXPECT_EQ(StoppedWords(3, 1679, "takes in w-2", std::nullopt, 2),
            "epoch 3 stopped after step 1679, no step is lost: takes in w-2");
  EXPECT_EQ(
      StoppedWords(3, 1679, "w-1 leaves", 2, 2),
      "epoch 3 stopped after step 1679, no step is lost: w-1 leaves; the run goes on with those "
      "who stay");
  EXPECT_EQ(StoppedWords(3, 1679, "w-1 leaves", 1, 2),
            "epoch 3 stopped after step 1679, no step is lost: w-1 leaves; the run goes on when it "
            "has 2 workers");
}

}  // namespace
}  // namespace tritter
